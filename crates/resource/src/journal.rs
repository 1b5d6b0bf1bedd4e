//! Journals of ext4 file systems: `ordered|writeback|journal[:size]` (`ext4(5)`).

use serde::{Deserialize, Serialize};

use crate::size;

/// The least size, in bytes: 1024 blocks.
const MINIMUM: u64 = 4 << 20;
/// The most, in bytes: `mke2fs(8)` takes 10,240,000 blocks, which is a little more.
const MAXIMUM: u64 = 39 << 30;

/// How a file system stays valid over a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// What goes into it.
    pub mode: JournalMode,
    /// Bytes, a multiple of 1 MiB; absent: what suits the file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_in_bytes: Option<u64>,
}

/// Contents of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JournalMode {
    /// Metadata, after the data that it is about.
    #[default]
    Ordered,
    /// Metadata alone: what was not fsynced before a crash may be old data after it.
    Writeback,
    /// Everything, twice written.
    Journal,
}

impl JournalMode {
    /// As `mount(8)` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Writeback => "writeback",
            Self::Journal => "journal",
        }
    }
}

impl std::fmt::Display for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mode.name())?;
        match self.size_in_bytes {
            Some(bytes) => write!(f, ":{}m", bytes >> 20),
            None => Ok(()),
        }
    }
}

/// Why a text describes no journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// No mode of ext4.
    #[error("invalid journal mode '{0}': ordered, writeback or journal is expected")]
    Mode(String),
    /// Not a size, or not one that a journal can have.
    #[error("invalid journal size '{0}': 4M to 39G is expected")]
    Size(String),
    /// More than there is room for.
    #[error("a journal of {} does not fit a disk of {}: it has at most two fifths of that", size::memory(*.journal), size::memory(*.disk))]
    Fit {
        /// Bytes of the journal.
        journal: u64,
        /// Bytes of the disk.
        disk: u64,
    },
}

impl Journal {
    /// Whether it has room on a disk of so many bytes: `mke2fs(8)` gives it half of what is free in an empty file system, of which tables take a
    /// sixteenth at most.
    ///
    /// # Errors
    /// When it has not.
    pub fn check_fit(&self, disk: u64) -> Result<(), JournalError> {
        match self.size_in_bytes {
            Some(journal) if journal > disk / 5 * 2 => Err(JournalError::Fit { journal, disk }),
            _ => Ok(()),
        }
    }
}

/// A journal: its mode, and perhaps its size.
///
/// # Errors
/// When one of them cannot be.
pub fn parse(text: &str) -> Result<Journal, JournalError> {
    let (mode, bytes) = match text.split_once(':') {
        Some((mode, bytes)) => (mode, Some(bytes)),
        None => (text, None),
    };
    let mode = match mode {
        "ordered" => JournalMode::Ordered,
        "writeback" => JournalMode::Writeback,
        "journal" => JournalMode::Journal,
        other => return Err(JournalError::Mode(other.to_owned())),
    };
    let size_in_bytes = match bytes {
        None => None,
        Some(text) => {
            let wrong = || JournalError::Size(text.to_owned());
            let bytes = size::parse(text).map_err(|_| wrong())?;
            if !(MINIMUM..=MAXIMUM).contains(&bytes) {
                return Err(wrong());
            }
            Some(bytes.next_multiple_of(size::MIB))
        }
    };
    Ok(Journal {
        mode,
        size_in_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_larger_than_its_disk_allows_is_refused() {
        let given = parse("journal:128M").unwrap();
        let error = given.check_fit(100 << 20).unwrap_err().to_string();
        assert!(
            error.contains("128 MiB") && error.contains("100 MiB"),
            "{error}"
        );
        assert_eq!(given.check_fit(320 << 20), Ok(()));
        assert_eq!(Journal::default().check_fit(0), Ok(()));
    }

    #[test]
    fn a_mode_and_perhaps_a_size() {
        let journal = |mode, size_in_bytes| Journal {
            mode,
            size_in_bytes,
        };
        for (text, expected, shown) in [
            ("ordered", journal(JournalMode::Ordered, None), "ordered"),
            (
                "journal:64m",
                journal(JournalMode::Journal, Some(64 << 20)),
                "journal:64m",
            ),
            (
                "writeback:4097k",
                journal(JournalMode::Writeback, Some(5 << 20)),
                "writeback:5m",
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), shown);
        }
        for text in [
            "",
            "none",
            "ordered:",
            "ordered:1m",
            "journal:41g",
            "Ordered",
            "journal:x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
