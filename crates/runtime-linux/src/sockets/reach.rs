//! Sockets of the host that a container reaches, opened with the rights of the user who started it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use container_api::listening::listens;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::protocol::Target;

/// What every user of the container may use: it is the container's alone.
const AGENT_MODE: u32 = 0o666;

/// Why a socket of the host cannot be mounted.
#[derive(Debug, thiserror::Error)]
#[error("bind mount source {}", path.display())]
pub struct ReachError {
    path: PathBuf,
    #[source]
    pub source: io::Error,
}

/// A socket that is connected to again and again. One that its owner makes anew is followed; one of somebody else, or a link,
/// that has come in its place is not.
#[derive(Debug)]
pub struct Reached {
    target: Target,
    owner: Option<u32>,
    /// Permission bits.
    pub mode: u32,
}

impl Reached {
    /// Looks at `target`.
    pub fn find(target: Target) -> Result<Self, ReachError> {
        let (owner, mode) = match &target {
            Target::Mounted { path } => {
                let (_, found) = open(path, ResolveFlags::NO_SYMLINKS).map_err(|source| {
                    let path = path.clone();
                    ReachError { path, source }
                })?;
                (Some(found.st_uid), found.st_mode & 0o777)
            }
            Target::Agent { .. } => (None, AGENT_MODE),
        };
        Ok(Self {
            target,
            owner,
            mode,
        })
    }

    /// A connection, at once or not at all: [`io::ErrorKind::WouldBlock`] where nobody takes any.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        let file = self.file()?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file that was looked at, whatever is at the path by now.
        let this = SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        rustix::net::connect(&socket, &this)?;
        Ok(socket)
    }

    /// Whether a connection would be taken. Nobody learns of the question.
    pub fn listens(&self) -> bool {
        let file = self.file();
        file.is_ok_and(|file| listens(format!("/proc/self/fd/{}", file.as_raw_fd()).as_ref()))
    }

    /// The directory that its path is in.
    pub fn directory(&self) -> Option<&Path> {
        match &self.target {
            Target::Mounted { path } | Target::Agent { path: Some(path) } => path.parent(),
            Target::Agent { path: None } => None,
        }
    }

    /// The socket that is there now, if it is what was meant.
    fn file(&self) -> io::Result<OwnedFd> {
        let (path, resolve) = match &self.target {
            Target::Mounted { path } => (path, ResolveFlags::NO_SYMLINKS),
            Target::Agent { path: Some(path) } => (path, ResolveFlags::empty()),
            Target::Agent { path: None } => return Err(io::ErrorKind::ConnectionRefused.into()),
        };
        let (file, found) = open(path, resolve)?;
        if self.owner.is_some_and(|owner| owner != found.st_uid) {
            return Err(rustix::io::Errno::PERM.into());
        }
        Ok(file)
    }
}

/// The socket at `path`.
fn open(path: &Path, resolve: ResolveFlags) -> io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)?;
    let found = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(rustix::io::Errno::NOTSOCK.into());
    }
    Ok((file, found))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn mounted(path: &Path) -> Target {
        Target::Mounted {
            path: path.to_owned(),
        }
    }

    #[test]
    fn a_socket_that_is_made_anew_is_followed_and_a_link_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let scratch = scratch.path().canonicalize().unwrap();
        let (path, other) = (scratch.join("s"), scratch.join("other"));
        let first = UnixListener::bind(&path).unwrap();
        let reached = Reached::find(mounted(&path)).unwrap();
        reached.connect().unwrap();
        assert!(reached.listens());
        drop(first);
        assert!(!reached.listens());
        let refused = reached.connect().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        std::fs::remove_file(&path).unwrap();
        let _second = UnixListener::bind(&path).unwrap();
        reached.connect().unwrap();
        assert!(reached.listens());
        let _other = UnixListener::bind(&other).unwrap();
        std::fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        let error = reached.connect().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        assert!(!reached.listens());
        assert!(Reached::find(mounted(&path)).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        let error = reached.connect().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
    }

    #[test]
    fn another_owner_s_socket_is_not_the_one_that_was_meant() {
        let scratch = tempfile::tempdir().unwrap();
        let scratch = scratch.path().canonicalize().unwrap();
        let path = scratch.join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut reached = Reached::find(mounted(&path)).unwrap();
        reached.owner = reached.owner.map(|owner| owner + 1);
        let error = reached.connect().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn the_agent_is_found_wherever_links_lead() {
        let scratch = tempfile::tempdir().unwrap();
        let link = scratch.path().join("agent");
        let agent = |path: Option<&Path>| {
            let path = path.map(Path::to_owned);
            Reached::find(Target::Agent { path }).unwrap()
        };
        assert!(agent(None).connect().is_err());
        let reached = agent(Some(&link));
        assert!(reached.connect().is_err());
        for name in ["first", "second"] {
            let path = scratch.path().join(name);
            let _listener = UnixListener::bind(&path).unwrap();
            let _ = std::fs::remove_file(&link);
            symlink(&path, &link).unwrap();
            reached.connect().unwrap();
        }
    }
}
