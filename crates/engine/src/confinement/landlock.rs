//! Landlock, which needs no privilege (Documentation/userspace-api/landlock.rst): the second layer where namespaces
//! are to be had, and the first where they are not.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

/// Access rights of linux/landlock.h.
const EXECUTE: u64 = 1 << 0;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: libc::c_int = 1;

/// `struct landlock_ruleset_attr`. Older kernels know its first fields only.
#[repr(C)]
#[derive(Debug, Default)]
struct Attributes {
    files: u64,
    network: u64,
    scopes: u64,
}

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// Version of the kernel's Landlock; 0 where it has none, or has it switched off.
pub(crate) fn version() -> u32 {
    // SAFETY: this form of the call takes no structure.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Attributes>(),
            0_usize,
            VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// All that a version can forbid, and how many bytes of [`Attributes`] it knows.
fn everything(version: u32) -> (Attributes, usize) {
    let files = match version {
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,     // with moving files to other directories
        3 | 4 => (1 << 15) - 1, // with changing their length
        _ => (1 << 16) - 1,     // with requests to devices
    };
    let attributes = Attributes {
        files,
        // Binding and connecting TCP sockets.
        network: if version >= 4 { 0b11 } else { 0 },
        // Abstract Unix sockets of others, and signals to them.
        scopes: if version >= 6 { 0b11 } else { 0 },
    };
    let fields = match version {
        0..=3 => 1,
        4 | 5 => 2,
        _ => 3,
    };
    (attributes, fields * size_of::<u64>())
}

/// Files that a process may still open.
#[derive(Debug)]
pub(super) struct Ruleset(OwnedFd);

impl Ruleset {
    /// A set that allows nothing; `None` where the kernel has no Landlock.
    pub(super) fn new() -> io::Result<Option<Self>> {
        let version = version();
        if version == 0 {
            return Ok(None);
        }
        let (attributes, size) = everything(version);
        // SAFETY: the structure is at least as long as the size that is passed.
        let ruleset = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const attributes,
                size,
                0,
            )
        };
        match RawFd::try_from(ruleset) {
            // SAFETY: the kernel has just opened it for us.
            Ok(ruleset @ 0..) => Ok(Some(Self(unsafe { OwnedFd::from_raw_fd(ruleset) }))),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Allows a file to be read and executed.
    pub(super) fn allow_reading(&self, path: &CStr) -> io::Result<()> {
        self.allow(path, EXECUTE | READ_FILE)
    }

    /// Allows everything in a directory to be read and executed.
    pub(super) fn allow_reading_beneath(&self, path: &CStr) -> io::Result<()> {
        self.allow(path, EXECUTE | READ_FILE | READ_DIRECTORY)
    }

    fn allow(&self, path: &CStr, access: u64) -> io::Result<()> {
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let rule = PathBeneath {
            allowed_access: access,
            parent_fd: file.as_raw_fd(),
        };
        // SAFETY: the structure is the one that the kind of rule wants.
        let result = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.0.as_raw_fd(),
                PATH_BENEATH,
                &raw const rule,
                0,
            )
        };
        succeeded(result)
    }

    /// Restricts the calling process, which must have no new privileges, and what it executes.
    pub(super) fn enforce(&self) -> io::Result<()> {
        // SAFETY: takes two integers.
        succeeded(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0) })
    }
}

fn succeeded(result: libc::c_long) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_asked_for_what_it_knows() {
        for (version, files, size) in [
            (1, 0x1fff, 8),
            (3, 0x7fff, 8),
            (4, 0x7fff, 16),
            (5, 0xffff, 16),
            (7, 0xffff, 24),
        ] {
            let (attributes, length) = everything(version);
            assert_eq!((attributes.files, length), (files, size), "{version}");
        }
        // What this kernel says of itself is accepted by it.
        assert_eq!(Ruleset::new().unwrap().is_some(), version() > 0);
    }
}
