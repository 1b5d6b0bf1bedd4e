//! Reading a file while another process writes to it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow::{self, Break, Continue};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use container_files::Links;
use container_resource::log;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::failure::Failure;

/// Bytes read at once.
const BLOCK: usize = 64 << 10;

/// A log file, read from some place on, across its truncation and its replacement by a new file.
#[derive(Debug)]
pub struct Follower {
    file: File,
    path: PathBuf,
}

impl Follower {
    /// `file`, which was opened at `path`, from byte `start` on.
    pub fn new(mut file: File, path: PathBuf, start: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(start))?;
        Ok(Self { file, path })
    }

    /// Gives what is there to `each`, in pieces.
    pub fn drain(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.pieces(|bytes| each(bytes).map(Continue)).map(drop)
    }

    /// Gives what is there to `each`, in pieces, until it has enough.
    fn pieces(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<ControlFlow<()>, Failure> {
        let mut block = vec![0; BLOCK];
        loop {
            let read = self.file.read(&mut block).context("read the log")?;
            if read == 0 {
                return Ok(Continue(()));
            }
            if each(&block[..read])?.is_break() {
                return Ok(Break(()));
            }
        }
    }

    /// Gives what is there and what comes to `each`, until `ended` or until it has enough.
    pub async fn follow(
        &mut self,
        ended: impl Future<Output = ()>,
        mut each: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        tokio::pin!(ended);
        // The watch comes before the first look, so that nothing falls between them.
        let mut watch = self.watch().context("watch the log")?;
        let mut over = false;
        loop {
            if self.pieces(&mut each)?.is_break() {
                return Ok(());
            }
            if self.is_truncated().context("read the log")? {
                self.file.rewind().context("read the log")?;
                continue;
            }
            if let Some(file) = self.successor() {
                // No process writes to a file that has been replaced: this is its end.
                if self.pieces(&mut each)?.is_break() {
                    return Ok(());
                }
                self.file = file;
                watch = self.watch().context("watch the log")?;
                continue;
            }
            if over {
                return Ok(());
            }
            tokio::select! {
                changed = changes(&watch) => changed.context("watch the log")?,
                // What was written before is still to be read, in however many files.
                () = &mut ended => over = true,
            }
        }
    }

    fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::MODIFY | WatchFlags::MOVE_SELF | WatchFlags::ATTRIB;
        match inotify::add_watch(&watch, &self.path, events) {
            // Between two files: the next look finds the new one, or the end.
            Ok(_) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // SAFETY: an OwnedFd keeps its descriptor open as long as the AsyncFd has it.
        Ok(unsafe { AsyncFd::register(watch) }?)
    }

    fn is_truncated(&mut self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() < self.file.stream_position()?)
    }

    /// The file that was begun after this one: another one at the same path, or, where that was replaced meanwhile,
    /// the one before it.
    fn successor(&self) -> Option<File> {
        let file = container_files::open(&self.path, Links::Refuse).ok()?;
        if is_same(&file, &self.file) {
            return None;
        }
        let between = container_files::open(&log::previous(&self.path), Links::Refuse).ok();
        between
            .filter(|between| !is_same(between, &self.file) && !is_same(between, &file))
            .or(Some(file))
    }
}

/// Whether both are one file.
pub fn is_same(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino())).ok();
    identity(one) == identity(other)
}

/// Ends when something has happened to the file.
async fn changes(watch: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut ready = watch.readable().await?;
    let mut events = [0; 4096];
    // What happened does not matter: the file is looked at either way.
    match rustix::io::read(watch, &mut events) {
        Ok(_) => {}
        Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Starts to follow `path`; gives what is read and what ends it.
    fn start(path: PathBuf) -> (mpsc::UnboundedReceiver<Vec<u8>>, oneshot::Sender<()>) {
        let (sender, read) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        tokio::spawn(async move {
            let mut follower = Follower::new(File::open(&path).unwrap(), path, 0).unwrap();
            let ended = async move { ended.await.unwrap() };
            follower
                .follow(ended, |bytes| {
                    sender.send(bytes.to_vec()).unwrap();
                    let enough = bytes.ends_with(b"enough");
                    Ok(if enough { Break(()) } else { Continue(()) })
                })
                .await
                .unwrap();
        });
        (read, end)
    }

    #[tokio::test]
    async fn whoever_has_enough_gets_no_more() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        std::fs::write(&path, "one").unwrap();
        let (mut read, _end) = start(path.clone());
        assert_eq!(read.recv().await.unwrap(), b"one");
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"enough").unwrap();
        assert_eq!(read.recv().await.unwrap(), b"enough");
        assert_eq!(read.recv().await, None);
    }

    #[tokio::test]
    async fn rotated_faster_than_it_is_read() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        std::fs::write(&path, "one").unwrap();
        let (mut read, end) = start(path.clone());
        assert_eq!(read.recv().await.unwrap(), b"one");
        // The follower does not run until this waits.
        for content in ["two", "three"] {
            std::fs::rename(&path, log::previous(&path)).unwrap();
            std::fs::write(&path, content).unwrap();
        }
        end.send(()).unwrap();
        assert_eq!(read.recv().await.unwrap(), b"two");
        assert_eq!(read.recv().await.unwrap(), b"three");
        assert_eq!(read.recv().await, None);
    }

    #[tokio::test]
    async fn appended_truncated_and_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        std::fs::write(&path, "one").unwrap();
        let (mut read, end) = start(path.clone());
        assert_eq!(read.recv().await.unwrap(), b"one");

        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"two").unwrap();
        assert_eq!(read.recv().await.unwrap(), b"two");

        file.set_len(0).unwrap();
        // The follower sees the truncation before more is written only if it is woken: wait for it by writing
        // less than was there.
        file.write_all(b"3").unwrap();
        assert_eq!(read.recv().await.unwrap(), b"3");

        let new = scratch.path().join("new");
        std::fs::write(&new, "four").unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(read.recv().await.unwrap(), b"four");

        std::fs::write(&path, "four, and five").unwrap();
        end.send(()).unwrap();
        let mut rest = Vec::new();
        while let Some(bytes) = read.recv().await {
            rest.extend(bytes);
        }
        assert!(String::from_utf8(rest).unwrap().ends_with("and five"));
    }
}
