//! A blob that is being written.

use std::io::{Seek as _, Write as _};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{ALGORITHM, ContentError, failed};

/// It is in the layout when it is committed, and gone if it never is.
#[derive(Debug)]
pub struct Blob {
    directory: PathBuf,
    file: NamedTempFile,
    hash: Sha256,
    length: u64,
}

impl Blob {
    pub(super) fn new(directory: PathBuf) -> Result<Self, ContentError> {
        let file = tempfile::Builder::new()
            .prefix(".part-")
            .tempfile_in(&directory)
            .map_err(|error| failed(&directory, error))?;
        Ok(Self {
            directory,
            file,
            hash: Sha256::new(),
            length: 0,
        })
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Begins it anew.
    pub fn clear(&mut self) -> Result<(), ContentError> {
        let file = self.file.as_file_mut();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .map_err(|error| failed(&self.directory, error))?;
        self.hash = Sha256::new();
        self.length = 0;
        Ok(())
    }

    /// Adds `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        let written = self.file.as_file_mut().write_all(bytes);
        written.map_err(|error| failed(&self.directory, error))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Puts it into its place, if it is what it should be: `expected` is empty, and `total` 0, where that was not told. Gives its digest.
    pub fn commit(self, expected: &str, total: u64) -> Result<String, ContentError> {
        let hex = hex::encode(self.hash.finalize());
        let digest = format!("{ALGORITHM}{hex}");
        let other = |expected: String, found: String| ContentError::Other { expected, found };
        if total != 0 && total != self.length {
            let bytes = |length: u64| format!("{length} bytes");
            return Err(other(bytes(total), bytes(self.length)));
        }
        if !expected.is_empty() && expected != digest {
            return Err(other(expected.to_owned(), digest));
        }
        let path = self.directory.join(hex);
        self.file
            .as_file()
            .sync_data()
            .and_then(|()| {
                // As other tools make them: a temporary file is for its owner alone.
                let mode = rustix::fs::Mode::from_raw_mode(0o644);
                Ok(rustix::fs::fchmod(self.file.as_file(), mode)?)
            })
            .and_then(|()| self.file.persist(&path).map_err(|error| error.error))
            .map_err(|error| failed(&path, error))?;
        Ok(digest)
    }
}
