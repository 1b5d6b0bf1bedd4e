//! What can be done with a container's files, as words: the arguments of the program in the guest that does it
//! (`crates/vminitd/src/archive`). Its standard streams carry the tar, the list or the text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What [`Operation::Hold`] says.
pub const HELD: &[u8] = b"held\n";
/// How long a file system is frozen at most without a sign that the copy goes on: a database may be waiting to write.
pub const HOLD_LIMIT: Duration = Duration::from_secs(60);
/// The words for an [`Operation::Copy`], and for one with `top`.
const COPY: &[u8] = b"copy";
const COPY_TOP: &[u8] = b"copy-top";
/// The word before the number of a volume.
const VOLUME: &[u8] = b"volume";

/// Whose files an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The container's root, as its processes see it.
    Root,
    /// The volume whose disk has this number: paths begin in it.
    Volume(u32),
}

/// An operation on the files of a container or a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Whose.
    pub subject: Subject,
    /// What is done.
    pub operation: Operation,
}

impl Task {
    /// As words; [`Self::parse`] reads them.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let mut words = match self.subject {
            Subject::Root => Vec::new(),
            Subject::Volume(number) => vec![VOLUME.to_vec(), number.to_string().into_bytes()],
        };
        words.extend(self.operation.words());
        words
    }

    /// The task that `words` are; nothing where they are no such words.
    pub fn parse<W: AsRef<[u8]>>(words: &[W]) -> Option<Self> {
        let (subject, words) = match words {
            [first, number, rest @ ..] if first.as_ref() == VOLUME => {
                let number = std::str::from_utf8(number.as_ref()).ok()?.parse().ok()?;
                (Subject::Volume(number), rest)
            }
            words => (Subject::Root, words),
        };
        let operation = Operation::parse(words)?;
        let fits = subject == Subject::Root || operation.fits_volumes();
        fits.then_some(Self { subject, operation })
    }
}

/// What files that are written have of those that are read, beside their contents, times and modes without set-id bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: they are root's.
    Nothing,
    /// Owners.
    Owners,
    /// Owners, set-id bits and file capabilities.
    Everything,
}

impl Kept {
    const ALL: [Self; 3] = [Self::Nothing, Self::Owners, Self::Everything];

    /// The word for an [`Operation::Write`] that keeps this.
    const fn verb(self) -> &'static [u8] {
        match self {
            Self::Nothing => b"write",
            Self::Owners => b"write-owners",
            Self::Everything => b"write-owned",
        }
    }

    fn of_verb(verb: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kept| kept.verb() == verb)
    }
}

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
        /// What files have of the archive's.
        kept: Kept,
    },
    /// Copies the tree at a path to where `cp` would put it, with all that its files have. Says on standard output where that is.
    Copy {
        /// Absolute. A link at its end is followed.
        from: PathBuf,
        /// Absolute. Not below `from`.
        to: PathBuf,
        /// A directory that is there and gets the contents of another one becomes like that itself: `cp -a from/. to`.
        top: bool,
    },
    /// Reads any tar from standard input into a directory, with its owners and modes.
    Extract {
        /// Absolute, in the container; it must be there.
        path: PathBuf,
    },
    /// Reads a tar, as [`Self::Export`] writes it of a volume, from standard input into the root: everything of it, the root's own owner
    /// and mode, too.
    Import,
    /// Writes all there is, without what is mounted in it, to standard output; of a volume a first member `./`, too.
    Export {
        /// Nothing in the container runs meanwhile.
        still: bool,
    },
    /// Writes what differs from the image to standard output: `A`, `C` or `D` for added, changed or deleted, and a path; each
    /// ends in a NUL.
    Differences,
    /// Gives the space that is free on its disks back to the host. Says on standard output how many bytes that were.
    Trim,
    /// Freezes the file system: everything is on its disk, and writers wait. Says [`HELD`] on standard output when that holds, until
    /// standard input ends. [`HOLD_LIMIT`] after the last byte that came there it fails, and holds nothing any more.
    Hold,
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
            Self::Export { still: true } | Self::Layer { still: true } | Self::Hold
        )
    }

    /// Whether a volume has what it needs: files alone.
    pub fn fits_volumes(&self) -> bool {
        !matches!(self, Self::Differences | Self::Trim | Self::Layer { .. })
    }

    /// What it reads and writes, where that is not everything.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Read { path } | Self::Write { path, .. } | Self::Extract { path } => {
                vec![path.as_path()]
            }
            Self::Copy { from, to, .. } => vec![from.as_path(), to.as_path()],
            _ => Vec::new(),
        }
    }

    /// Whether it reads standard input.
    pub fn reads(&self) -> bool {
        matches!(
            self,
            Self::Write { .. } | Self::Extract { .. } | Self::Import | Self::Hold
        )
    }

    /// Whether it makes or changes files.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Self::Write { .. } | Self::Copy { .. } | Self::Extract { .. } | Self::Import
        )
    }

    /// As words; [`Self::parse`] reads them.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let word = |text: &OsStr| text.as_bytes().to_vec();
        match self {
            Self::Read { path } => vec![b"read".to_vec(), word(path.as_os_str())],
            Self::Write { path, name, kept } => {
                let mut words = vec![kept.verb().to_vec(), word(path.as_os_str())];
                words.extend(name.as_deref().map(word));
                words
            }
            Self::Copy { from, to, top } => {
                let verb = if *top { COPY_TOP } else { COPY };
                let paths = [from, to].map(|path| word(path.as_os_str()));
                [verb.to_vec()].into_iter().chain(paths).collect()
            }
            Self::Extract { path } => vec![b"extract".to_vec(), word(path.as_os_str())],
            Self::Import => vec![b"import".to_vec()],
            Self::Export { still: true } => vec![b"export".to_vec()],
            Self::Export { still: false } => vec![b"export-running".to_vec()],
            Self::Differences => vec![b"differences".to_vec()],
            Self::Trim => vec![b"trim".to_vec()],
            Self::Hold => vec![b"hold".to_vec()],
            Self::Layer { still: true } => vec![b"layer".to_vec()],
            Self::Layer { still: false } => vec![b"layer-running".to_vec()],
        }
    }

    /// The operation that `words` are; nothing where they are no such words.
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
            [verb, word, names @ ..] if Kept::of_verb(verb).is_some() => Self::Write {
                path: path(word)?,
                name: match names {
                    [] => None,
                    [name] => Some(component(name)?),
                    _ => return None,
                },
                kept: Kept::of_verb(verb)?,
            },
            [verb @ (COPY | COPY_TOP), from, to] => Self::Copy {
                from: path(from)?,
                to: path(to)?,
                top: *verb == COPY_TOP,
            },
            [b"extract", word] => Self::Extract { path: path(word)? },
            [b"import"] => Self::Import,
            [b"export"] => Self::Export { still: true },
            [b"export-running"] => Self::Export { still: false },
            [b"differences"] => Self::Differences,
            [b"trim"] => Self::Trim,
            [b"hold"] => Self::Hold,
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
                kept: Kept::Nothing,
            },
            Operation::Write {
                path: path.clone(),
                name: None,
                kept: Kept::Owners,
            },
            Operation::Write {
                path: path.clone(),
                name: Some(OsString::from_vec(b"a \xff".to_vec())),
                kept: Kept::Everything,
            },
            Operation::Copy {
                from: path.clone(),
                to: PathBuf::from("/to"),
                top: false,
            },
            Operation::Copy {
                from: path.clone(),
                to: PathBuf::from("/to"),
                top: true,
            },
            Operation::Extract { path },
            Operation::Import,
            Operation::Export { still: true },
            Operation::Export { still: false },
            Operation::Differences,
            Operation::Trim,
            Operation::Hold,
            Operation::Layer { still: true },
            Operation::Layer { still: false },
        ] {
            assert_eq!(
                Operation::parse(&operation.words()).as_ref(),
                Some(&operation)
            );
            for subject in [Subject::Root, Subject::Volume(7)] {
                let operation = operation.clone();
                let fits = subject == Subject::Root || operation.fits_volumes();
                let task = Task { subject, operation };
                assert_eq!(Task::parse(&task.words()), fits.then_some(task));
            }
        }
        for words in [
            &["volume"][..],
            &["volume", "x", "hold"],
            &["volume", "-1", "hold"],
            &["volume", "1"],
        ] {
            assert_eq!(Task::parse(words), None, "{words:?}");
        }
        for words in [
            &["read"][..],
            &["read", "relative"],
            &["read", "/a\0"],
            &["write", "/a", ""],
            &["write", "/a", ".."],
            &["write", "/a", "b/c"],
            &["write", "/a", "b", "c"],
            &["copy", "/a"],
            &["copy", "/a", "b"],
            &["remove", "/"],
            &[],
        ] {
            assert_eq!(Operation::parse(words), None, "{words:?}");
        }
    }
}
