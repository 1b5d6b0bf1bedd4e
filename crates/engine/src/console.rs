//! The guest's console, kept on the host within bounds.
//!
//! A guest may write for ever, so what it writes goes through the engine into a file of limited
//! size; the VMM itself has no file to fill.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest size of a console file in bytes. When it is reached, the older half is dropped.
pub const CAPACITY: u64 = 1 << 20;

/// Bytes of recent output kept in memory for error reports.
const TAIL: usize = 16 << 10;

const DROPPED: &[u8] = b"[... earlier console output was dropped ...]\n";

/// The end of an endless stream of text.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    pub(crate) fn push(&mut self, data: &[u8]) {
        let data = &data[data.len().saturating_sub(TAIL)..];
        let excess = (self.bytes.len() + data.len()).saturating_sub(TAIL);
        self.bytes.drain(..excess);
        self.bytes.extend(data);
    }

    /// The last `count` lines that are not blank, without control characters: the text comes from
    /// a guest and may be shown on a terminal.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<String> {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<String> = text
            .lines()
            .rev()
            .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
            .filter(|line| !line.trim().is_empty())
            .take(count)
            .collect();
        lines.reverse();
        lines
    }

    /// The first line from the end that contains `pattern`, from there on.
    pub(crate) fn find_last(&self, pattern: &str) -> Option<String> {
        let lines = self.last_lines(usize::MAX);
        lines
            .iter()
            .rev()
            .find_map(|line| line.find(pattern).map(|at| line[at..].to_owned()))
    }
}

/// A file that holds the latest part of a stream, at most [`CAPACITY`] bytes.
#[derive(Debug)]
pub(crate) struct BoundedFile {
    file: File,
    length: u64,
    capacity: u64,
}

impl BoundedFile {
    /// Creates the file, or empties it. A symbolic link in its place is not followed.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self::on(file.into()))
    }

    /// Writes to `file`, which is empty.
    pub(crate) fn on(file: File) -> Self {
        Self {
            file,
            length: 0,
            capacity: CAPACITY,
        }
    }

    pub(crate) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(16 << 10) {
            let added = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if self.length + added > self.capacity {
                self.drop_older_half()?;
            }
            self.file.write_all_at(piece, self.length)?;
            self.length += added;
        }
        Ok(())
    }

    fn drop_older_half(&mut self) -> io::Result<()> {
        let keep = usize::try_from(self.capacity / 2).unwrap_or(usize::MAX);
        let from = self.length.saturating_sub(self.capacity / 2);
        let mut kept = vec![0; keep.min(usize::try_from(self.length).unwrap_or(usize::MAX))];
        self.file.read_exact_at(&mut kept, from)?;
        // Start at a whole line where there is one.
        let line = kept
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let mut content = DROPPED.to_vec();
        content.extend_from_slice(&kept[line..]);
        self.file.set_len(0)?;
        self.file.write_all_at(&content, 0)?;
        self.length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// Where a stream is recorded, if anywhere.
#[derive(Debug)]
pub(crate) struct Recording(Mutex<Option<BoundedFile>>);

impl Recording {
    pub(crate) fn new(file: Option<BoundedFile>) -> Self {
        Self(Mutex::new(file))
    }

    /// Records in `file` from now on.
    pub(crate) fn replace(&self, file: BoundedFile) {
        *self.file() = Some(file);
    }

    /// A file that cannot be written to (a full disk) costs the log, never the guest.
    pub(crate) fn append(&self, data: &[u8]) {
        let mut file = self.file();
        if let Some(Err(error)) = file.as_mut().map(|file| file.append(data)) {
            tracing::warn!(%error, "the console is no longer recorded");
            *file = None;
        }
    }

    fn file(&self) -> MutexGuard<'_, Option<BoundedFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies a stream to its end into `file`, and returns its last lines.
pub(crate) async fn record(mut stream: impl AsyncRead + Unpin, file: Arc<Recording>) -> Tail {
    let mut tail = Tail::default();
    let mut buffer = vec![0; 16 << 10];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return tail,
            Ok(read) => {
                let data = &buffer[..read];
                tail.push(data);
                file.append(data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_end_of_an_endless_stream() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        tail.push(&vec![b'x'; 3 * TAIL]);
        assert_eq!(tail.bytes.len(), TAIL);
        tail.push(b"\nlast but one\n\n\x1b[31mlast\r\n");
        assert_eq!(tail.last_lines(2), ["last but one", "[31mlast"]);
    }

    #[test]
    fn a_pattern_is_found_inside_its_line() {
        let mut tail = Tail::default();
        tail.push(b"[  0.1] Kernel panic - not syncing: No init\n[  0.2] ---[ end ]---\n");
        assert_eq!(
            tail.find_last("Kernel panic").unwrap(),
            "Kernel panic - not syncing: No init"
        );
        assert_eq!(tail.find_last("Oops"), None);
    }

    #[test]
    fn the_file_stays_bounded_and_keeps_the_latest_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console");
        let mut log = BoundedFile::create(&path).unwrap();
        log.capacity = 4096;
        for number in 0..2000 {
            log.append(format!("line {number}\n").as_bytes()).unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() <= 4096);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.as_bytes().starts_with(DROPPED), "{text}");
        assert!(text.ends_with("line 1998\nline 1999\n"), "{text}");
        // Only whole lines, none missing in between.
        let numbers: Vec<u32> = text
            .lines()
            .skip(1)
            .map(|line| line[5..].parse().unwrap())
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn a_link_in_the_files_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (victim, link) = (
            directory.path().join("victim"),
            directory.path().join("link"),
        );
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        BoundedFile::create(&link).unwrap_err();
        assert_eq!(std::fs::read_to_string(victim).unwrap(), "precious");
    }
}
