//! Views of what is mounted already, and changes of attached mounts.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::options::MountFlagSet;

/// A detached copy of the mount at `path` below `directory`; with what is mounted below it if `recursive`.
/// An empty path means the descriptor itself.
pub fn clone_tree(
    directory: impl AsFd,
    path: &str,
    recursive: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    open_tree(directory, path, flags)
}

/// Attaches a detached mount over `target`.
pub fn attach(mount: impl AsFd, target: &str) -> rustix::io::Result<()> {
    move_mount(
        mount,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Changes the attributes of `mount` and, if `recursive`, of those below it.
pub fn set_attributes(
    mount: impl AsFd,
    flags: MountFlagSet,
    recursive: bool,
) -> rustix::io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: u64::from(flags.on.bits()),
        attr_clr: u64::from(flags.off.bits()),
        propagation: 0,
        userns_fd: 0,
    };
    let mut how = libc::AT_EMPTY_PATH;
    if recursive {
        how |= libc::AT_RECURSIVE;
    }
    // SAFETY: mount_setattr(2) reads an empty path and one `mount_attr` of the given size; both outlive it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            how,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

/// Changes the propagation of the mount at `target`.
pub fn set_propagation(target: &str, change: MountPropagationFlags) -> rustix::io::Result<()> {
    rustix::mount::mount_change(target, change)
}
