//! Why a container stands still: the host does not take what it writes to its disks.

use serde::{Deserialize, Serialize};

/// Why the host does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standstill {
    /// Its file system is full.
    Full,
    /// A quota is used up.
    Quota,
    /// The disk's file may not become larger.
    FileSize,
    /// Its file system is read-only.
    ReadOnly,
    /// Any other error, such as one of the host's own disk.
    Failed,
}

impl Standstill {
    const ALL: [Self; 5] = [
        Self::Full,
        Self::Quota,
        Self::FileSize,
        Self::ReadOnly,
        Self::Failed,
    ];

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quota => "quota",
            Self::FileSize => "fileSize",
            Self::ReadOnly => "readOnly",
            Self::Failed => "failed",
        }
    }

    /// What is written so. Of what others say, an unknown word is an error like any other.
    pub fn of_word(word: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|known| known.word() == word)
            .unwrap_or(Self::Failed)
    }

    /// What holds the container up, in a few words.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Full => "the host's file system is full",
            Self::Quota => "a quota of the host's file system is used up",
            Self::FileSize => "the host lets a disk's file grow no further",
            Self::ReadOnly => "the host's file system is read-only",
            Self::Failed => "the host cannot write to a disk's file",
        }
    }

    /// The same beside a state.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "host's disk is full",
            Self::Quota => "host's quota is used up",
            Self::FileSize => "host's limit of file sizes",
            Self::ReadOnly => "host's disk is read-only",
            Self::Failed => "host's disk fails",
        }
    }

    /// What is said of a container that stands still.
    pub fn text(self) -> String {
        let until = match self {
            Self::Full | Self::Quota => "until there is room",
            Self::FileSize => "until it may",
            Self::ReadOnly | Self::Failed => "until it can be written to",
        };
        format!("{}: the container stands still {until}", self.cause())
    }

    /// What to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Full | Self::Quota => {
                "Free space on the host: `container system df` shows what takes it, and deleting other containers, volumes and images works with no \
                 room at all. The container goes on by itself then; `container kill` ends it as it is."
            }
            Self::FileSize => {
                "`ulimit -f` of who started the system, and the file system itself, bound how large a file may be."
            }
            Self::ReadOnly | Self::Failed => "The host's kernel says why: `dmesg`.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_word() {
        for why in Standstill::ALL {
            assert_eq!(Standstill::of_word(why.word()), why);
            let json = serde_json::to_string(&why).unwrap();
            assert_eq!(json, format!("\"{}\"", why.word()));
        }
        assert_eq!(Standstill::of_word("x"), Standstill::Failed);
        assert_eq!(
            Standstill::Full.text(),
            "the host's file system is full: the container stands still until there is room"
        );
    }
}
