//! What confines a VMM where namespaces are not to be had: Landlock, which needs no privilege
//! (Documentation/userspace-api/landlock.rst).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// Access rights of linux/landlock.h.
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
/// All rights of the first version: those above, and making or removing anything.
const ALL: u64 = (1 << 13) - 1;

/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: libc::c_int = 1;

/// Files that a process may still open.
#[derive(Debug)]
pub(super) struct Ruleset(OwnedFd);

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

impl Ruleset {
    /// An empty set; `None` where the kernel has no Landlock, or has it switched off.
    pub(super) fn new() -> io::Result<Option<Self>> {
        let handled = ALL;
        // SAFETY: the structure's first version consists of this one integer.
        let ruleset = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const handled,
                size_of::<u64>(),
                0,
            )
        };
        match RawFd::try_from(ruleset) {
            // SAFETY: the kernel has just opened it for us.
            Ok(ruleset @ 0..) => Ok(Some(Self(unsafe { OwnedFd::from_raw_fd(ruleset) }))),
            _ => match Errno::from_io_error(&io::Error::last_os_error()) {
                Some(Errno::NOSYS | Errno::OPNOTSUPP) => Ok(None),
                _ => Err(io::Error::last_os_error()),
            },
        }
    }

    /// Allows a file, or everything in a directory, to be read and executed, or to be read and
    /// written to.
    pub(super) fn allow(&self, path: &CStr, writable: bool) -> io::Result<()> {
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        let access = match (kind, writable) {
            (FileType::Directory, _) => EXECUTE | READ_FILE | READ_DIRECTORY,
            (_, true) => READ_FILE | WRITE_FILE,
            (_, false) => EXECUTE | READ_FILE,
        };
        self.add(file.as_raw_fd(), access)
    }

    /// Allows an open regular file to be opened again for reading.
    pub(super) fn allow_open(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode);
        match kind {
            FileType::RegularFile => self.add(file.as_raw_fd(), READ_FILE).or_else(|error| {
                // Memory files are in no hierarchy, and are not restricted.
                match Errno::from_io_error(&error) {
                    Some(Errno::BADFD) => Ok(()),
                    _ => Err(error),
                }
            }),
            _ => Ok(()),
        }
    }

    fn add(&self, file: RawFd, access: u64) -> io::Result<()> {
        let rule = PathBeneath {
            allowed_access: access,
            parent_fd: file,
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
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Restricts the calling process, which must have no new privileges, and what it executes.
    pub(super) fn enforce(&self) -> io::Result<()> {
        // SAFETY: takes two integers.
        let result =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
