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
        // What is so already is not set again: each change is one of the file system's journal.
        let found = rustix::fs::fstat(file)?;
        // A file that gets another owner loses its set-id bits and capabilities.
        let mut given = true;
        let owner = self.owner(member);
        if let Some((user, group)) = owner.filter(|owner| *owner != (found.st_uid, found.st_gid)) {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            let done = rustix::fs::fchown(file, Some(user), Some(group));
            given = done.is_ok();
            tolerate(done)?;
        }
        let privileges = self.rules.privileges && given;
        let mask = if privileges { 0o7777 } else { 0o1777 };
        let mode = u32::from(member.permissions) & mask;
        // Giving it away has taken set-id bits.
        if mode != found.st_mode & 0o7777 || mode & 0o6000 != 0 {
            tolerate(rustix::fs::fchmod(file, Mode::from_raw_mode(mode)))?;
        }
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

    /// Whom `member` is to belong to; nothing where that is whoever makes it.
    fn owner(&self, member: &Member) -> Option<(u32, u32)> {
        match self.rules.owners {
            Owners::Keep => Some((member.uid, member.gid)),
            Owners::All(user, group) => Some((user, group)),
            Owners::Own => None,
        }
    }

    /// What a file is made with: that of `member`, where neither a change of its owner nor an attribute is still to bound who may read it.
    pub(super) fn first_mode(&self, member: &Member) -> Mode {
        let owner = self.owner(member);
        if member.xattrs.is_empty() && owner.is_none_or(|owner| owner == self.maker) {
            Mode::from_raw_mode(u32::from(member.permissions) & 0o777)
        } else {
            Mode::RUSR | Mode::WUSR
        }
    }

    /// What a directory has until all is made in it, and keeps where this process is killed: nobody else may write there, so that what is
    /// made is not exchanged meanwhile, and those may read who may in the end. Its owner and group come at the end.
    pub(super) fn first_directory_mode(&self, member: &Member) -> Mode {
        let wanted = u32::from(member.permissions);
        let mode = if self.rules.in_place {
            0
        } else if self.owner(member).is_some_and(|owner| owner != self.maker) {
            // Its group is not the one that the mode speaks of.
            (wanted & 0o005) * 0o11
        } else {
            wanted & 0o055
        };
        Mode::RWXU | Mode::from_raw_mode(mode)
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
