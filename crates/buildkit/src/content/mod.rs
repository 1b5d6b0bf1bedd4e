//! Directories of blobs that a builder may read or fill: OCI image layouts.

mod blob;
mod index;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

pub(crate) use blob::Blob;

/// Where blobs are in a layout.
const BLOBS: &str = "blobs/sha256";
/// What a digest begins with: the one algorithm that layouts have here.
const ALGORITHM: &str = "sha256:";

/// A layout, and what the builder may do with it.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    access: Access,
}

#[derive(Clone, Debug)]
enum Access {
    /// Read these blobs.
    Only(HashSet<String>),
    /// Read all.
    Read,
    /// Read all, and add some.
    Fill,
}

/// Why there is no blob.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It is not there, or not for the builder.
    #[error("there is no blob {0}")]
    NotFound(String),
    /// It is there already.
    #[error("blob {0} is there already")]
    Exists(String),
    /// It may not be written.
    #[error("nothing may be written there")]
    ReadOnly,
    /// What was written is something else.
    #[error("what was written is not {expected}: {found}")]
    Other {
        /// The digest, or the size, that was told.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The file system.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The list of what is in it is none.
    #[error("{path}: it is no list of an image layout: {reason}")]
    Index {
        /// Where.
        path: String,
        /// Why.
        reason: String,
    },
}

impl Store {
    /// Of the layout `directory` the blobs `digests`, which may be read.
    pub fn only(directory: &Path, digests: HashSet<String>) -> Self {
        Self {
            directory: directory.to_owned(),
            access: Access::Only(digests),
        }
    }

    /// The layout `directory`, all of which may be read.
    pub fn read(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            access: Access::Read,
        }
    }

    /// The layout `directory`, which may be filled. It is made if it is not there.
    ///
    /// # Errors
    /// [`ContentError::Io`].
    pub fn fill(directory: &Path) -> Result<Self, ContentError> {
        let blobs = directory.join(BLOBS);
        std::fs::create_dir_all(&blobs).map_err(|error| failed(&blobs, error))?;
        Ok(Self {
            directory: directory.to_owned(),
            access: Access::Fill,
        })
    }

    /// Opens a blob to read it.
    pub(crate) fn open(&self, digest: &str) -> Result<File, ContentError> {
        let missing = || ContentError::NotFound(digest.to_owned());
        let is_allowed = match &self.access {
            Access::Only(digests) => digests.contains(digest),
            Access::Read | Access::Fill => true,
        };
        if !is_allowed {
            return Err(missing());
        }
        let path = self.place(digest).ok_or_else(missing)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match openat(CWD, &path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Err(missing()),
            Err(error) => return Err(failed(&path, error.into())),
        };
        let found = file.metadata().map_err(|error| failed(&path, error))?;
        if found.is_file() {
            Ok(file)
        } else {
            Err(missing())
        }
    }

    /// Begins a blob. `expected` is its digest, where that is known.
    pub(crate) fn begin(&self, expected: &str) -> Result<Blob, ContentError> {
        if !matches!(self.access, Access::Fill) {
            return Err(ContentError::ReadOnly);
        }
        if self.place(expected).is_some_and(|path| path.exists()) {
            return Err(ContentError::Exists(expected.to_owned()));
        }
        Blob::new(self.directory.join(BLOBS))
    }

    fn place(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix(ALGORITHM)?;
        let is_hex = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| self.directory.join(BLOBS).join(hex))
    }
}

pub(crate) fn failed(path: &Path, source: io::Error) -> ContentError {
    ContentError::Io {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn write(store: &Store, bytes: &[u8]) -> String {
        let mut blob = store.begin("").unwrap();
        blob.write(bytes).unwrap();
        blob.commit("", 0).unwrap()
    }

    #[test]
    fn blobs_are_what_their_digests_say() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::fill(&place.path().join("new")).unwrap();
        let digest = write(&store, b"x");
        let mut text = String::new();
        let mut file = store.open(&digest).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(matches!(store.begin(&digest), Err(ContentError::Exists(_))));
        let mut other = store.begin("").unwrap();
        other.write(b"y").unwrap();
        assert!(matches!(
            other.commit(&digest, 0),
            Err(ContentError::Other { .. })
        ));
        let mut short = store.begin("").unwrap();
        short.write(b"y").unwrap();
        assert!(short.commit("", 2).is_err());
        // Nothing of what was given up is left.
        let blobs = std::fs::read_dir(place.path().join("new").join(BLOBS)).unwrap();
        assert_eq!(blobs.count(), 1);
    }

    #[test]
    fn only_what_is_meant_is_reached() {
        let place = tempfile::tempdir().unwrap();
        let all = Store::fill(place.path()).unwrap();
        let digest = write(&all, b"x");
        std::fs::write(place.path().join("index.json"), "{}").unwrap();
        let none = Store::only(place.path(), HashSet::new());
        assert!(none.open(&digest).is_err());
        let one = Store::only(place.path(), HashSet::from([digest.clone()]));
        assert!(one.open(&digest).is_ok());
        assert!(matches!(one.begin(""), Err(ContentError::ReadOnly)));
        assert!(Store::read(place.path()).begin("").is_err());
        let long = format!("sha256:{}", "/".repeat(64));
        for odd in ["sha256:../../index.json", "sha256:", "index.json", &long] {
            assert!(all.open(odd).is_err(), "{odd}");
        }
        let linked = format!("sha256:{}", "0".repeat(64));
        let link = place.path().join(BLOBS).join("0".repeat(64));
        std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
        assert!(all.open(&linked).is_err());
    }
}
