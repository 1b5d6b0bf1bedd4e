//! What can be done with a container's files, as words: the arguments of the program in the guest that does it
//! (`crates/vminitd/src/archive`). Its standard streams carry the tar, the list or the text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes the tree at a path to standard output. Its first member is called as the path ends; where it has no name (`/`),
    /// members have no common parent.
    Read {
        /// Absolute, in the container. A link at its end is followed.
        path: PathBuf,
    },
    /// Reads a tree, as [`Self::Read`] writes it, from standard input, and puts it where `cp` would. Says on standard output
    /// where that is.
    Write {
        /// Absolute, in the container.
        path: PathBuf,
        /// What the tree is called, whatever its sender calls it: one component. Nothing: it is the contents of a directory.
        name: Option<OsString>,
        /// Owners are those of the archive; root otherwise.
        owners: bool,
    },
    /// Reads any tar from standard input into a directory, with its owners and modes.
    Extract {
        /// Absolute, in the container; it must be there.
        path: PathBuf,
    },
    /// Writes the container's root, without what is mounted in it, to standard output.
    Export {
        /// Nothing in the container runs meanwhile.
        still: bool,
    },
    /// Writes what differs from the image to standard output: `A`, `C` or `D` for added, changed or deleted, and a path; each
    /// ends in a NUL.
    Differences,
    /// Gives the space that is free on its disks back to the host. Says on standard output how many bytes that were.
    Trim,
    /// Writes what differs from the image as a layer (OCI image specification, "Image Layer Filesystem Changeset").
    Layer {
        /// Nothing in the container runs meanwhile.
        still: bool,
    },
}

impl Operation {
    /// Whether nothing in the container should run meanwhile, for the whole to be of one moment.
    pub fn wants_standstill(&self) -> bool {
        matches!(
            self,
            Self::Export { still: true } | Self::Layer { still: true }
        )
    }

    /// Whether it reads standard input.
    pub fn reads(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Extract { .. })
    }

    /// As words; [`Self::parse`] reads them.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let word = |text: &OsStr| text.as_bytes().to_vec();
        match self {
            Self::Read { path } => vec![b"read".to_vec(), word(path.as_os_str())],
            Self::Write { path, name, owners } => {
                let verb: &[u8] = if *owners { b"write-owned" } else { b"write" };
                let mut words = vec![verb.to_vec(), word(path.as_os_str())];
                words.extend(name.as_deref().map(word));
                words
            }
            Self::Extract { path } => vec![b"extract".to_vec(), word(path.as_os_str())],
            Self::Export { still: true } => vec![b"export".to_vec()],
            Self::Export { still: false } => vec![b"export-running".to_vec()],
            Self::Differences => vec![b"differences".to_vec()],
            Self::Trim => vec![b"trim".to_vec()],
            Self::Layer { still: true } => vec![b"layer".to_vec()],
            Self::Layer { still: false } => vec![b"layer-running".to_vec()],
        }
    }

    /// The operation that `words` are; nothing where they are none.
    pub fn parse<W: AsRef<[u8]>>(words: &[W]) -> Option<Self> {
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        let path = |word: &[u8]| {
            let sound = word.starts_with(b"/") && !word.contains(&0);
            sound.then(|| PathBuf::from(OsString::from_vec(word.to_vec())))
        };
        let component = |word: &[u8]| {
            let sound = !matches!(word, b"" | b"." | b"..")
                && !word.iter().any(|byte| matches!(byte, b'/' | 0));
            sound.then(|| OsString::from_vec(word.to_vec()))
        };
        Some(match words.as_slice() {
            [b"read", word] => Self::Read { path: path(word)? },
            [verb @ (b"write" | b"write-owned"), word, names @ ..] => Self::Write {
                path: path(word)?,
                name: match names {
                    [] => None,
                    [name] => Some(component(name)?),
                    _ => return None,
                },
                owners: *verb == b"write-owned",
            },
            [b"extract", word] => Self::Extract { path: path(word)? },
            [b"export"] => Self::Export { still: true },
            [b"export-running"] => Self::Export { still: false },
            [b"differences"] => Self::Differences,
            [b"trim"] => Self::Trim,
            [b"layer"] => Self::Layer { still: true },
            [b"layer-running"] => Self::Layer { still: false },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        let path = PathBuf::from(OsString::from_vec(b"/a b/\xff".to_vec()));
        for operation in [
            Operation::Read { path: path.clone() },
            Operation::Write {
                path: path.clone(),
                name: None,
                owners: false,
            },
            Operation::Write {
                path: path.clone(),
                name: Some(OsString::from_vec(b"a \xff".to_vec())),
                owners: true,
            },
            Operation::Extract { path },
            Operation::Export { still: true },
            Operation::Export { still: false },
            Operation::Differences,
            Operation::Trim,
            Operation::Layer { still: true },
            Operation::Layer { still: false },
        ] {
            assert_eq!(Operation::parse(&operation.words()), Some(operation));
        }
        for words in [
            &["read"][..],
            &["read", "relative"],
            &["read", "/a\0"],
            &["write", "/a", ""],
            &["write", "/a", ".."],
            &["write", "/a", "b/c"],
            &["write", "/a", "b", "c"],
            &["remove", "/"],
            &[],
        ] {
            assert_eq!(Operation::parse(words), None, "{words:?}");
        }
    }
}
