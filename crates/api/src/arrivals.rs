//! When another process begins to listen, told by the kernel: nobody asks again and again.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What comes into one directory.
#[derive(Debug)]
pub struct Arrivals {
    watch: AsyncFd<OwnedFd>,
}

impl Arrivals {
    /// Servers of ours that begin to listen below `directory`, from now on: who looks for one afterwards misses none.
    ///
    /// # Errors
    /// As `inotify_add_watch(2)`: the directory is not there, or the user has too many watches.
    pub fn below(directory: &Path) -> io::Result<Self> {
        // [`crate::socket::bind`] sets a socket's mode when it listens already: before that, nobody could connect.
        Self::of(directory, WatchFlags::ATTRIB)
    }

    /// Whatever is made, moved or changed there: other programs' sockets, and links to them.
    ///
    /// # Errors
    /// As [`Self::below`].
    pub fn of_anything(directory: &Path) -> io::Result<Self> {
        Self::of(
            directory,
            WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB,
        )
    }

    fn of(directory: &Path, what: WatchFlags) -> io::Result<Self> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, directory, what)?;
        // SAFETY: an OwnedFd names one open description as long as it lives.
        let watch = unsafe { AsyncFd::register_with_interest(watch, Interest::READABLE)? };
        Ok(Self { watch })
    }

    /// Ends when there may be one more. May be cancelled at any time.
    ///
    /// # Errors
    /// As `read(2)`.
    pub async fn next(&self) -> io::Result<()> {
        let mut events = [0; 4096];
        loop {
            let mut ready = self.watch.readable().await?;
            match rustix::io::read(&self.watch, &mut events) {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::socket;

    #[tokio::test]
    async fn a_server_that_begins_to_listen_is_told_of() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a.sock");
        let arrivals = Arrivals::below(scratch.path()).unwrap();
        let early = tokio::time::timeout(Duration::from_millis(20), arrivals.next()).await;
        assert!(early.is_err());
        // A thread of its own, so that the event comes while it is waited for.
        let bound = path.clone();
        let server = std::thread::spawn(move || socket::bind(&bound).unwrap());
        arrivals.next().await.unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        server.join().unwrap();
        assert!(Arrivals::below(&scratch.path().join("absent")).is_err());
    }
}
