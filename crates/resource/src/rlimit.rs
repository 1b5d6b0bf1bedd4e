//! Resource limits: `--ulimit <type>=<soft>[:<hard>]`.

use crate::container::Rlimit;

/// What can be limited, as it is typed (`getrlimit(2)`).
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

/// Why a text is no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RlimitError {
    /// No `=`.
    #[error("invalid ulimit '{0}': <type>=<soft>[:<hard>] is expected")]
    Malformed(String),
    /// None of [`TYPES`].
    #[error("invalid ulimit type '{0}' (one of {types})", types = TYPES.join(", "))]
    Type(String),
    /// Neither a number nor `unlimited`.
    #[error("invalid ulimit value '{0}' (a number, or 'unlimited')")]
    Value(String),
    /// The soft limit is the one that holds; the hard one is how far it can be raised.
    #[error("invalid ulimit '{0}': the soft limit exceeds the hard limit")]
    SoftOverHard(String),
}

/// One limit. `unlimited` and `-1` are no limit; without a hard limit it is the soft one.
///
/// # Errors
/// When the type, a value or their order is wrong.
pub fn parse(text: &str) -> Result<Rlimit, RlimitError> {
    let (kind, values) = text
        .split_once('=')
        .ok_or_else(|| RlimitError::Malformed(text.to_owned()))?;
    let kind = kind.to_ascii_lowercase();
    if !TYPES.contains(&kind.as_str()) {
        return Err(RlimitError::Type(kind));
    }
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (value(soft)?, value(hard)?);
    if soft > hard {
        return Err(RlimitError::SoftOverHard(text.to_owned()));
    }
    let limit = format!("RLIMIT_{}", kind.to_ascii_uppercase());
    Ok(Rlimit { limit, soft, hard })
}

fn value(text: &str) -> Result<u64, RlimitError> {
    match text {
        "unlimited" | "-1" => Ok(u64::MAX),
        _ => text
            .parse()
            .map_err(|_| RlimitError::Value(text.to_owned())),
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
    fn mistakes_are_named() {
        assert_eq!(
            parse("nofile"),
            Err(RlimitError::Malformed("nofile".into()))
        );
        assert_eq!(parse("files=1"), Err(RlimitError::Type("files".into())));
        assert_eq!(
            parse("nofile=2:1"),
            Err(RlimitError::SoftOverHard("nofile=2:1".into()))
        );
        for text in [
            "nofile=",
            "nofile=a",
            "nofile=1:",
            "nofile=1:2:3",
            "nofile=-2",
        ] {
            assert!(matches!(parse(text), Err(RlimitError::Value(_))), "{text}");
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
