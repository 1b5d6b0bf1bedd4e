//! The system calls of mounts (`open_tree`(2), `mount_setattr`(2), `move_mount`(2)).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
};

/// No device of the host is opened, no program of it runs and no link of it is followed, whatever the guest asks for.
const TAME: u64 = libc::MOUNT_ATTR_NOSUID
    | libc::MOUNT_ATTR_NODEV
    | libc::MOUNT_ATTR_NOEXEC
    | libc::MOUNT_ATTR_NOSYMFOLLOW;

/// Keeps what happens to the calling process's mounts from the host's, and the reverse.
pub fn make_private() -> io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change(c"/", private)?)
}

/// A view of what `path` below `directory` shows, which is not yet part of any tree; with what is mounted below it if
/// `recursive`. An empty path means the descriptor itself.
pub fn view(directory: impl AsFd, path: &CStr, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    Ok(rustix::mount::open_tree(directory, path, flags)?)
}

/// A small file system in memory that is not yet part of any tree.
pub fn tmpfs() -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in [(c"size", c"1m"), (c"mode", c"755")] {
        rustix::mount::fsconfig_set_string(context.as_fd(), name, value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(rustix::mount::fsmount(context.as_fd(), flags, attributes)?)
}

/// Puts a mount into a directory.
pub fn attach(mount: impl AsFd, directory: impl AsFd, path: &CStr) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(
        mount, c"", directory, path, flags,
    )?)
}

/// Makes `root` the root of the calling process, and leaves the former one.
pub fn enter(root: impl AsFd) -> io::Result<()> {
    // Linux before 6.15 mounts nothing inside of what is not mounted itself: it was attached before.
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir(c"/")?)
}

/// Takes from `mount`, and from what is mounted below it if `recursive`, what a share never needs; and every writing if
/// `read_only`, whoever writes.
pub fn tame(mount: impl AsFd, read_only: bool, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: TAME
            | if read_only {
                libc::MOUNT_ATTR_RDONLY
            } else {
                0
            },
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let mut how = libc::AT_EMPTY_PATH;
    if recursive {
        how |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a C string, and the structure is passed with its own size; both outlive the call.
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
        Err(io::Error::last_os_error())
    }
}

/// The process's own descriptors, as a directory with nothing above it.
pub fn own_descriptors() -> io::Result<OwnedFd> {
    view(CWD, c"/proc/self/fd", false)
}
