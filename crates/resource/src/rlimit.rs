//! Resource limits: `--ulimit <type>=<soft>[:<hard>]`.

use crate::container::Rlimit;

/// Resources that can be limited, by their words (`getrlimit(2)`).
pub const TYPES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Why a text is no limit, in the words of Apple's tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RlimitError {
    /// No `=`, or nothing on one of its sides.
    #[error("invalid ulimit format '{0}': expected <type>=<soft>[:<hard>]")]
    Malformed(String),
    /// None of [`TYPES`].
    #[error("unsupported ulimit type '{0}': valid types are {types}", types = TYPES.join(", "))]
    Type(String),
    /// Neither a number nor `unlimited`.
    #[error(
        "invalid ulimit value '{value}' for '{kind}': must be a non-negative integer or 'unlimited'"
    )]
    Value {
        /// The type.
        kind: String,
        /// What was given for it.
        value: String,
    },
    /// The soft limit is the one that holds; the hard one is how far it can be raised.
    #[error("ulimit '{kind}' soft limit ({soft}) cannot exceed hard limit ({hard})")]
    SoftOverHard {
        /// The type.
        kind: String,
        /// The limit that would hold.
        soft: String,
        /// How far it could be raised.
        hard: String,
    },
}

/// One limit. `unlimited` and `-1` are no limit; without a hard limit it is the soft one.
///
/// # Errors
/// When the type, a value or their order is wrong.
pub fn parse(text: &str) -> Result<Rlimit, RlimitError> {
    let malformed = || RlimitError::Malformed(text.to_owned());
    let (kind, values) = text.split_once('=').ok_or_else(malformed)?;
    if kind.is_empty() || values.is_empty() {
        return Err(malformed());
    }
    let kind = kind.to_ascii_lowercase();
    if !TYPES.contains(&kind.as_str()) {
        return Err(RlimitError::Type(kind));
    }
    let (soft_text, hard_text) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (value(&kind, soft_text)?, value(&kind, hard_text)?);
    if soft > hard {
        return Err(RlimitError::SoftOverHard {
            kind,
            soft: soft_text.to_owned(),
            hard: hard_text.to_owned(),
        });
    }
    let limit = format!("RLIMIT_{}", kind.to_ascii_uppercase());
    Ok(Rlimit { limit, soft, hard })
}

fn value(kind: &str, text: &str) -> Result<u64, RlimitError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "unlimited" | "-1" => Ok(u64::MAX),
        number => number.parse().map_err(|_| RlimitError::Value {
            kind: kind.to_owned(),
            value: text.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn soft_and_hard() {
        let limit = |limit: &str, soft, hard| {
            Ok(Rlimit {
                limit: limit.into(),
                soft,
                hard,
            })
        };
        assert_eq!(
            parse("nofile=1024:2048"),
            limit("RLIMIT_NOFILE", 1024, 2048)
        );
        assert_eq!(parse("core=0"), limit("RLIMIT_CORE", 0, 0));
        assert_eq!(
            parse("stack=8:unlimited"),
            limit("RLIMIT_STACK", 8, u64::MAX)
        );
        assert_eq!(
            parse("memlock=-1:-1"),
            limit("RLIMIT_MEMLOCK", u64::MAX, u64::MAX)
        );
    }

    #[test]
    fn mistakes_are_named_in_apple_s_words() {
        for (text, words) in [
            (
                "nofile",
                "invalid ulimit format 'nofile': expected <type>=<soft>[:<hard>]",
            ),
            (
                "nofile=",
                "invalid ulimit format 'nofile=': expected <type>=<soft>[:<hard>]",
            ),
            (
                "files=1",
                "unsupported ulimit type 'files': valid types are core, cpu, data, fsize, locks, memlock, \
                 msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack",
            ),
            (
                "nofile=2:1",
                "ulimit 'nofile' soft limit (2) cannot exceed hard limit (1)",
            ),
            (
                "nofile=-1:1",
                "ulimit 'nofile' soft limit (-1) cannot exceed hard limit (1)",
            ),
            (
                "nofile=a",
                "invalid ulimit value 'a' for 'nofile': must be a non-negative integer or 'unlimited'",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), words);
        }
        for text in ["nofile=1:", "nofile=:1", "nofile=1:2:3", "nofile=-2"] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, RlimitError::Value { .. }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_come_through(kind in proptest::sample::select(&TYPES), soft: u32, more: u32) {
            let (soft, hard) = (u64::from(soft), u64::from(soft) + u64::from(more));
            let parsed = parse(&format!("{kind}={soft}:{hard}")).unwrap();
            prop_assert_eq!((parsed.soft, parsed.hard), (soft, hard));
        }
    }
}
