//! Sockets of the container that the host reaches.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use container_api::listening::listens;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::process::Pid;
use tokio::net::{TcpStream, UnixStream};

/// How long a connection is held while the program takes none.
const FULL: Duration = Duration::from_secs(10);
/// The first and the longest pause before it is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// A published socket.
#[derive(Debug)]
pub struct Published {
    path: String,
}

impl Published {
    /// The one at `path` of the container.
    pub fn at(path: String) -> Self {
        Self { path }
    }

    /// Connects to it, as the container whose first process is `leader` sees it.
    pub async fn connect(&self, leader: Pid) -> io::Result<UnixStream> {
        self.connect_below(&root(leader)?).await
    }

    /// Whether somebody listens there, as the container whose first process is `leader` sees it. Nobody learns of the question.
    pub fn listens(&self, leader: Pid) -> bool {
        root(leader).is_ok_and(|root| self.listens_below(&root))
    }

    fn listens_below(&self, root: &OwnedFd) -> bool {
        find(root, &self.path).is_ok_and(|found| listens(magic_link(&found).as_ref()))
    }

    async fn connect_below(&self, root: &OwnedFd) -> io::Result<UnixStream> {
        let begun = Instant::now();
        let mut pause = RETRY.0;
        loop {
            let found = find(root, &self.path)?;
            // This very file, whatever is at the path by now.
            match UnixStream::connect(magic_link(&found)).await {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && begun.elapsed() < FULL =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
                connected => return connected,
            }
        }
    }
}

fn root(leader: Pid) -> io::Result<OwnedFd> {
    let root = format!("/proc/{}/root", leader.as_raw_nonzero());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, root, flags, Mode::empty())?)
}

/// Connects to a port of a loopback address: the container's network is the guest's own.
pub async fn port(to: SocketAddr) -> io::Result<UnixStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    // A stream is a stream: nothing looks at its addresses from here on.
    UnixStream::from_std(OwnedFd::from(stream.into_std()?).into())
}

/// The socket at `path` below `root`, which no link leaves.
fn find(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
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
    Ok(found)
}

fn magic_link(found: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", found.as_raw_fd())
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
    async fn who_listens_is_found_and_links_stay_inside() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("run")).unwrap();
        std::os::unix::fs::symlink("/run", scratch.path().join("var")).unwrap();
        let published = Published::at("/var/x.sock".to_owned());
        let root = root(scratch.path());
        assert!(!published.listens_below(&root));
        assert!(published.connect_below(&root).await.is_err());
        let listener = UnixListener::bind(scratch.path().join("run/x.sock")).unwrap();
        assert!(published.listens_below(&root));
        published.connect_below(&root).await.unwrap();
        drop(listener);
        assert!(!published.listens_below(&root));
        let error = published.connect_below(&root).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn what_is_no_socket_refuses() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("file"), "").unwrap();
        let error = find(&root(scratch.path()), "/file").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
