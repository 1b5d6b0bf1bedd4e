//! The container's own record of what its first process wrote.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use container_resource::log::{Stream, frame};
use jiff::Timestamp;

/// A log file that grows past this many bytes becomes the previous one. Two are kept.
const ROTATE_AT: u64 = 32 << 20;

/// Appends records to `stdio.log`, keeping at most one previous file (`stdio.log.1`).
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
    records: Vec<u8>,
}

impl LogFile {
    /// Starts an empty log at `path`: each start of a container has its own.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn create(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(previous(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = open(path)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            length: 0,
            records: Vec::new(),
        })
    }

    /// Appends `bytes`, output of `stream`, written now.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.records.clear();
        frame(Timestamp::now(), stream, bytes, &mut self.records);
        if self.length >= ROTATE_AT {
            std::fs::rename(&self.path, previous(&self.path))?;
            self.file = open(&self.path)?;
            self.length = 0;
        }
        self.file.write_all(&self.records)?;
        // A usize always fits.
        self.length += self.records.len() as u64;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn previous(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_output_takes_two_files_at_most() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("stdio.log");
        let mut log = LogFile::create(&path).unwrap();
        let line = vec![b'y'; 1 << 20];
        for _ in 0..100 {
            log.append(Stream::Stdout, &line).unwrap();
        }
        let size: u64 = std::fs::read_dir(scratch.path())
            .unwrap()
            .map(|f| f.unwrap().metadata().unwrap().len())
            .sum();
        assert!(
            size > ROTATE_AT && size < 2 * ROTATE_AT + (4 << 20),
            "{size}"
        );
        assert!(path.exists() && previous(&path).exists());
    }
}
