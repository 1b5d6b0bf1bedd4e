//! Owners, modes, attributes and times.

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::Owners;
use super::tree::Tree;
use crate::tar::Member;

/// `utimensat(2)`: this time stays.
const UTIME_OMIT: i64 = (1 << 30) - 2;

impl Tree {
    /// Owner, mode, attributes and times of an open file or directory.
    pub(super) fn finish(&self, file: &OwnedFd, member: &Member) -> io::Result<()> {
        let owner = match self.rules.owners {
            Owners::Keep => Some((member.uid, member.gid)),
            Owners::All(user, group) => Some((user, group)),
            Owners::Own => None,
        };
        // A file that gets another owner loses its set-id bits and capabilities.
        let mut given = true;
        if let Some((user, group)) = owner {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            let done = rustix::fs::fchown(file, Some(user), Some(group));
            given = done.is_ok();
            tolerate(done)?;
        }
        let privileges = self.rules.privileges && given;
        let mask = if privileges { 0o7777 } else { 0o1777 };
        tolerate(rustix::fs::fchmod(
            file,
            Mode::from_raw_mode(u32::from(member.permissions) & mask),
        ))?;
        for (name, value) in &member.xattrs {
            if name.starts_with(b"user.") || privileges {
                tolerate(rustix::fs::fsetxattr(
                    file,
                    name.as_slice(),
                    value,
                    XattrFlags::empty(),
                ))?;
            }
        }
        Ok(tolerate(rustix::fs::futimens(file, &times(member)))?)
    }

    pub(super) fn own_as(
        &self,
        parent: BorrowedFd<'_>,
        name: &CString,
        member: &Member,
    ) -> rustix::io::Result<()> {
        match self.rules.owners {
            Owners::Keep => give(parent, name, member.uid, member.gid),
            _ => self.own(parent, name),
        }
    }

    /// Gives what no member describes, or cannot be opened, to its owner.
    pub(super) fn own(&self, parent: BorrowedFd<'_>, name: &CString) -> rustix::io::Result<()> {
        match self.rules.owners {
            Owners::All(user, group) => give(parent, name, user, group),
            Owners::Keep | Owners::Own => Ok(()),
        }
    }
}

fn give(parent: BorrowedFd<'_>, name: &CString, user: u32, group: u32) -> rustix::io::Result<()> {
    let owner = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    tolerate(rustix::fs::chownat(
        parent,
        name,
        owner.0,
        owner.1,
        AtFlags::SYMLINK_NOFOLLOW,
    ))
}

/// What this process, or this file system, cannot do is not worth the copy.
fn tolerate(done: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match done {
        Err(Errno::PERM | Errno::NOTSUP | Errno::INVAL) => Ok(()),
        done => done,
    }
}

pub(super) fn times(member: &Member) -> Timestamps {
    let (seconds, nanoseconds) = member.mtime;
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.into(),
        },
    }
}
