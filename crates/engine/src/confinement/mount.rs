//! Mounts that can only be read. Nothing here allocates.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use container_isolation::mount;
use rustix::fs::CWD;

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// A mount of one file or directory of the host that can only be read, and is not yet part of any tree.
pub(super) fn read_only(path: &CStr) -> io::Result<OwnedFd> {
    let tree = mount::view(CWD, path, false)?;
    set_read_only(tree.as_fd())?;
    Ok(tree)
}

/// Forbids writing through a mount, whoever writes.
pub(super) fn set_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    Ok(mount::set_attributes(mount, READ_ONLY, 0, false)?)
}
