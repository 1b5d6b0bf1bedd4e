//! Directories on the way through a tree, each with what is still to be read in it.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{PackError, read_error};

/// A directory that is being read.
#[derive(Debug)]
pub(super) struct Level {
    /// Closed while what is read is far below.
    pub(super) directory: Option<OwnedFd>,
    /// Device and inode.
    identity: (u64, u64),
    /// Names that are still to be read.
    pub(super) names: std::vec::IntoIter<CString>,
    /// Bytes of its path.
    pub(super) path: usize,
}

impl Level {
    pub(super) fn new(directory: OwnedFd, path: &[u8]) -> Result<Self, PackError> {
        let failed = read_error(path);
        Ok(Self {
            identity: identity(&directory).map_err(&failed)?,
            names: names(&directory).map_err(&failed)?.into_iter(),
            path: path.len(),
            directory: Some(directory),
        })
    }

    pub(super) fn directory(&self) -> io::Result<&OwnedFd> {
        // The last level is open.
        self.directory.as_ref().ok_or_else(|| Errno::BADF.into())
    }

    /// Goes on with this level, after the one below.
    pub(super) fn return_from(&mut self, below: &Self, path: &[u8]) -> Result<(), PackError> {
        if self.directory.is_some() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(below.directory()?, c"..", flags, Mode::empty());
        let opened = opened.map_err(read_error(path))?;
        if identity(&opened).map_err(read_error(path))? != self.identity {
            // It was moved meanwhile.
            return Err(read_error(path)(Errno::STALE));
        }
        self.directory = Some(opened);
        Ok(())
    }
}

fn identity(directory: &OwnedFd) -> rustix::io::Result<(u64, u64)> {
    rustix::fs::fstat(directory).map(|found| (found.st_dev, found.st_ino))
}

/// Opens `name` if it is a directory, as it was `found`; nothing where it is gone, or something else is there by now.
pub(super) fn enter(
    directory: BorrowedFd<'_>,
    name: &CStr,
    path: &[u8],
    found: &Stat,
) -> Result<Option<OwnedFd>, PackError> {
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(opened) if stands_for_a_share(&opened) => {
            Err(PackError::Absent(OsStr::from_bytes(path).into()))
        }
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(read_error(path)(error)),
    }
}

/// What `name` is; nothing where there is none.
pub(super) fn stat(
    directory: BorrowedFd<'_>,
    name: &CStr,
    path: &[u8],
) -> Result<Option<Stat>, PackError> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(read_error(path)(error)),
    }
}

/// Whether `directory` is of a file system whose files the kernel makes up as they are read (linux/magic.h).
pub(super) fn is_made_up(directory: &OwnedFd) -> bool {
    const PROC: i64 = 0x9fa0;
    const SYSFS: i64 = 0x6265_6572;
    const CGROUP2: i64 = 0x6367_7270;
    const DEVPTS: i64 = 0x1cd1;
    const MQUEUE: i64 = 0x1980_0202;
    rustix::fs::fstatfs(directory)
        .is_ok_and(|found| [PROC, SYSFS, CGROUP2, DEVPTS, MQUEUE].contains(&found.f_type))
}

/// Whether `directory` is what the guest puts in the place of a share that is not there, which nothing else in a container is
/// (linux/magic.h).
fn stands_for_a_share(directory: &OwnedFd) -> bool {
    const RAMFS: i64 = 0x8584_58f6;
    rustix::fs::fstatfs(directory).is_ok_and(|found| found.f_type == RAMFS)
}

/// Names in `directory`, sorted: the same tree gives the same archive.
pub fn names(directory: impl AsFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}
