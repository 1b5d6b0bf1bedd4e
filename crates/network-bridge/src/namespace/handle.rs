//! The network's namespaces, kept open: they live as long as this does, whoever is in them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, and the user namespace that it belongs to.
#[derive(Debug)]
pub struct Namespaces {
    user: File,
    network: File,
}

impl Namespaces {
    /// Those that a process is in.
    ///
    /// # Errors
    /// When it is gone, or another user's.
    pub fn of(pid: Pid) -> io::Result<Self> {
        let pid = pid.as_raw_nonzero();
        let path = |kind: &str| PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
        Self::open(&path("user"), &path("net"))
    }

    /// Those at these paths.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open(user: &Path, network: &Path) -> io::Result<Self> {
        let (user, network) = (File::open(user)?, File::open(network)?);
        Ok(Self { user, network })
    }

    /// Where a process that this one starts finds them.
    pub fn paths(&self) -> [String; 2] {
        let own = std::process::id();
        [&self.user, &self.network].map(|file| format!("/proc/{own}/fd/{}", file.as_raw_fd()))
    }

    /// Takes the calling process, which has one thread, into them: the user namespace of another can't be entered otherwise (setns(2)).
    ///
    /// # Errors
    /// As `setns(2)`.
    pub fn enter(&self) -> io::Result<()> {
        let own = std::fs::metadata("/proc/self/ns/user")?;
        if own.ino() != self.user.metadata()?.ino() {
            move_into_link_name_space(self.user.as_fd(), Some(LinkNameSpaceType::User))?;
        }
        move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }
}
