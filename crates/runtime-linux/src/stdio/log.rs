//! The container's own record of what its first process wrote, in all of its runs.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use container_resource::log::{Stream, frame, previous};
use jiff::Timestamp;

/// A log file that grows past this many bytes becomes the previous one. Two are kept.
const ROTATE_AT: u64 = 32 << 20;

/// Appends records to `stdio.log`, keeping at most one previous file (`stdio.log.1`).
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
    /// The last record was cut off: by the end of its writer, or of the disk.
    torn: bool,
    records: Vec<u8>,
}

impl LogFile {
    /// Goes on with the log at `path`, behind what earlier runs of the container printed, or begins it.
    ///
    /// # Errors
    /// As `open(2)`, `fstat(2)` and `pread(2)`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = container_files::append(path)?;
        let length = file.metadata()?.len();
        let mut last = *b"\n";
        if let Some(end) = length.checked_sub(1) {
            file.read_exact_at(&mut last, end)?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            length,
            torn: last != *b"\n",
            records: Vec::new(),
        })
    }

    /// Appends `bytes`, output of `stream`, written now.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if self.length >= ROTATE_AT {
            self.rotate()?;
        }
        self.records.clear();
        if self.torn {
            // What follows is a record of its own.
            self.records.push(b'\n');
        }
        frame(Timestamp::now(), stream, bytes, &mut self.records);
        // Until all of it is there.
        self.torn = true;
        self.file.write_all(&self.records)?;
        self.torn = false;
        // A usize always fits.
        self.length += self.records.len() as u64;
        Ok(())
    }

    /// Goes on in a new file. There is a log at each moment, and what is in it comes behind the previous file, unless
    /// both are one.
    fn rotate(&mut self) -> io::Result<()> {
        let (old, new) = (
            previous(&self.path),
            self.path.with_extension("log.partial"),
        );
        for path in [&old, &new] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let file = container_files::append(&new)?;
        std::fs::hard_link(&self.path, &old)?;
        std::fs::rename(&new, &self.path)?;
        self.file = file;
        (self.length, self.torn) = (0, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use container_resource::log::Parser;

    use super::*;

    /// What the log says, one text for each record.
    fn contents(path: &Path) -> Vec<String> {
        let mut read = Vec::new();
        Parser::default().feed(&std::fs::read(path).unwrap(), |record| {
            read.push(String::from_utf8_lossy(record.content).into_owned());
        });
        read
    }

    #[test]
    fn a_run_goes_on_behind_the_one_before_and_behind_a_torn_record() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("stdio.log");
        let run = |output: &[u8]| {
            let mut log = LogFile::open(&path).unwrap();
            log.append(Stream::Stdout, output).unwrap();
        };
        run(b"one\n");
        run(b"two\n");
        assert_eq!(contents(&path), ["one", "two"]);
        let whole = std::fs::read(&path).unwrap();
        let begin = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for end in begin..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            run(b"three\nfour\n");
            let mut read = contents(&path);
            assert_eq!(read.split_off(read.len() - 2), ["three", "four"]);
            // Of the torn record nothing is told but what was printed.
            assert_eq!(read.remove(0), "one");
            assert!(read.is_empty() || "two".starts_with(&read[0]), "{read:?}");
        }
    }

    #[test]
    fn a_write_that_failed_leaves_what_follows_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("stdio.log");
        let mut log = LogFile::open(&path).unwrap();
        log.append(Stream::Stdout, b"before\n").unwrap();
        log.file = File::open(&path).unwrap();
        log.append(Stream::Stdout, b"lost\n").unwrap_err();
        let mut file = container_files::append(&path).unwrap();
        file.write_all(b"2026-01-01T00:00:00Z stdout F lo").unwrap();
        log.file = file;
        log.append(Stream::Stdout, b"after\n").unwrap();
        assert_eq!(contents(&path), ["before", "lo", "after"]);
    }

    #[test]
    fn there_is_a_log_at_each_moment() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("stdio.log");
        let mut log = LogFile::open(&path).unwrap();
        std::thread::scope(|scope| {
            let rotations = scope.spawn(|| (0..2000).try_for_each(|_| log.rotate()));
            while !rotations.is_finished() {
                File::open(&path).unwrap();
            }
            rotations.join().unwrap().unwrap();
        });
    }

    #[test]
    fn many_runs_take_two_files_at_most() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("stdio.log");
        let line = vec![b'y'; 8 << 20];
        for _ in 0..12 {
            let mut log = LogFile::open(&path).unwrap();
            log.append(Stream::Stdout, &line).unwrap();
        }
        let sizes = [&path, &previous(&path)].map(|path| path.metadata().unwrap().len());
        assert!(sizes.iter().sum::<u64>() < 2 * (ROTATE_AT + (9 << 20)));
        assert!(sizes[1] >= ROTATE_AT, "{sizes:?}");
    }

    #[test]
    fn a_flood_of_output_takes_two_files_at_most() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("stdio.log");
        let mut log = LogFile::open(&path).unwrap();
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
