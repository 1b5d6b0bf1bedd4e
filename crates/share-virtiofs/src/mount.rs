//! What a share's mounts are like.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use container_isolation::mount;
use rustix::fs::CWD;

/// No device of the host is opened, no program of it runs and no link of it is followed, whatever the guest asks for.
const TAME: u64 = libc::MOUNT_ATTR_NOSUID
    | libc::MOUNT_ATTR_NODEV
    | libc::MOUNT_ATTR_NOEXEC
    | libc::MOUNT_ATTR_NOSYMFOLLOW;

/// Takes from `mount`, and from what is mounted below it if `recursive`, what a share never needs; and every writing if
/// `read_only`, whoever writes.
pub fn tame(mount: impl AsFd, read_only: bool, recursive: bool) -> io::Result<()> {
    let read_only = if read_only {
        libc::MOUNT_ATTR_RDONLY
    } else {
        0
    };
    Ok(mount::set_attributes(
        mount,
        TAME | read_only,
        0,
        recursive,
    )?)
}

/// The process's own descriptors, as a directory with nothing above it.
pub fn own_descriptors() -> io::Result<OwnedFd> {
    Ok(mount::view(CWD, c"/proc/self/fd", false)?)
}
