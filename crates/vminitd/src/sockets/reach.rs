//! Sockets of the container that the host reaches.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::process::Pid;
use tokio::net::{TcpStream, UnixStream};

/// How long a connection is held while nobody has ever listened: the program may just be starting.
const HOLD: Duration = Duration::from_secs(10);
/// How long it is held while the program takes none.
const FULL: Duration = Duration::from_secs(10);
/// The first and the longest pause before it is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// A published socket.
#[derive(Debug)]
pub struct Published {
    path: String,
    /// Somebody has listened: who does not now, has ended.
    seen: AtomicBool,
}

impl Published {
    /// The one at `path` of the container.
    pub fn at(path: String) -> Self {
        Self {
            path,
            seen: AtomicBool::new(false),
        }
    }

    /// Connects to it, as the container whose first process is `leader` sees it.
    pub async fn connect(&self, leader: Pid) -> io::Result<UnixStream> {
        let root = openat(
            CWD,
            format!("/proc/{}/root", leader.as_raw_nonzero()),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        self.connect_below(&root).await
    }

    async fn connect_below(&self, root: &OwnedFd) -> io::Result<UnixStream> {
        let begun = Instant::now();
        let mut pause = RETRY.0;
        loop {
            let error = match connect(root, &self.path).await {
                Ok(stream) => {
                    self.seen.store(true, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(error) => error,
            };
            let held = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    !self.seen.load(Ordering::Relaxed) && begun.elapsed() < HOLD
                }
                io::ErrorKind::WouldBlock => begun.elapsed() < FULL,
                _ => false,
            };
            if !held {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }
}

/// Connects to a port of the loopback address: the container's network is the guest's own.
pub async fn port(port: u16, ipv6: bool) -> io::Result<UnixStream> {
    let address = if ipv6 {
        IpAddr::from(Ipv6Addr::LOCALHOST)
    } else {
        IpAddr::from(Ipv4Addr::LOCALHOST)
    };
    let stream = TcpStream::connect((address, port)).await?;
    stream.set_nodelay(true)?;
    // A stream is a stream: nothing looks at its addresses from here on.
    UnixStream::from_std(OwnedFd::from(stream.into_std()?).into())
}

/// Connects to the socket at `path` below `root`, which no link leaves.
async fn connect(root: &OwnedFd, path: &str) -> io::Result<UnixStream> {
    let found = openat2(
        root.as_fd(),
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Socket {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // This very file, whatever is at the path by now.
    UnixStream::connect(format!("/proc/self/fd/{}", found.as_raw_fd())).await
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    fn root(directory: &std::path::Path) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        openat(CWD, directory, flags, Mode::empty()).unwrap()
    }

    #[tokio::test]
    async fn who_comes_too_early_is_held_and_links_stay_inside() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("run")).unwrap();
        std::os::unix::fs::symlink("/run", scratch.path().join("var")).unwrap();
        let published = Published::at("/var/x.sock".to_owned());
        let root = root(scratch.path());
        let listen = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            UnixListener::bind(scratch.path().join("run/x.sock")).unwrap()
        };
        let (connected, listener) = tokio::join!(published.connect_below(&root), listen);
        assert!(connected.is_ok());
        // Once somebody has listened, refused stays refused.
        drop(listener);
        let begun = Instant::now();
        let error = published.connect_below(&root).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(begun.elapsed() < HOLD / 2);
    }

    #[tokio::test]
    async fn what_is_no_socket_refuses() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("file"), "").unwrap();
        let error = connect(&root(scratch.path()), "/file").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
