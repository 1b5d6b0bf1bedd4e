//! The system calls of mounts (`fsopen`(2), `open_tree`(2), `mount_setattr`(2), `move_mount`(2), `pivot_root`(2)).
//!
//! With paths that are C strings nothing here allocates: a process that was just forked may call it.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};
use rustix::path::Arg;

/// Keeps what happens to the calling process's mounts from the host's, and the reverse.
///
/// # Errors
/// As `mount(2)`.
pub fn make_private() -> Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", private)
}

/// A file system in memory that is not yet part of any tree, with `options` of `tmpfs(5)`.
///
/// # Errors
/// As `fsopen(2)`, `fsconfig(2)` and `fsmount(2)`.
pub fn tmpfs(options: &[(&CStr, &CStr)]) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        rustix::mount::fsconfig_set_string(context.as_fd(), *name, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    rustix::mount::fsmount(context.as_fd(), flags, attributes)
}

/// A view of what `path` below `directory` shows, which is not yet part of any tree; with what is mounted below it if
/// `recursive`. An empty path means the descriptor itself.
///
/// # Errors
/// As `open_tree(2)`.
pub fn view(directory: impl AsFd, path: impl Arg, recursive: bool) -> Result<OwnedFd> {
    path.into_with_c_str(|path| {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        if path.is_empty() {
            flags |= OpenTreeFlags::AT_EMPTY_PATH;
        }
        rustix::mount::open_tree(directory, path, flags)
    })
}

/// Puts a mount over `path` below `directory`.
///
/// # Errors
/// As `move_mount(2)`.
pub fn attach(mount: impl AsFd, directory: impl AsFd, path: impl Arg) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", directory, path, flags)
}

/// Sets and clears attributes (`MOUNT_ATTR_*` of linux/mount.h) of `mount`, and of those below it if `recursive`.
///
/// # Errors
/// As `mount_setattr(2)`.
pub fn set_attributes(mount: impl AsFd, set: u64, clear: u64, recursive: bool) -> Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
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

/// Makes the attached mount `root` the root of the calling process, and leaves the former one.
///
/// # Errors
/// As `pivot_root(2)`, and as the calls around it.
pub fn enter(root: impl AsFd) -> Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}
