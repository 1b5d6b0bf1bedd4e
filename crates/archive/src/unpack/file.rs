//! Files: whole, or not there.

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::tree::{BUFFER, Tree};
use crate::nameless;
use crate::tar::{Member, Reader, Run};

impl Tree {
    pub(super) fn file<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &CString,
        member: &Member,
        reader: &mut Reader<R>,
    ) -> io::Result<bool> {
        if self.rules.in_place && self.is_new {
            match self.made(parent, name, member) {
                Ok(file) => return self.whole(parent, name, &file, member, reader),
                // Another member of this name, or somebody of the same power.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                return Err(Errno::ISDIR.into());
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // A reader meanwhile sees the old file, or the whole new one.
        let Some(file) = nameless::create(parent, self.first_mode(member))? else {
            return self.named(parent, name, member, reader);
        };
        self.fill(&file, member, reader)?;
        self.finish(&file, member)?;
        match nameless::link(&file, parent, name) {
            Err(Errno::EXIST) => {
                let temporary = self.linked(parent, &file)?;
                place(parent, &temporary, &file, name)?;
            }
            linked => linked?,
        }
        Ok(true)
    }

    /// As [`Self::file`], where a file needs a name.
    fn named<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &CString,
        member: &Member,
        reader: &mut Reader<R>,
    ) -> io::Result<bool> {
        let (temporary, file) = self.temporary(parent, member)?;
        self.whole(parent, &temporary, &file, member, reader)?;
        place(parent, &temporary, &file, name)?;
        Ok(true)
    }

    /// Makes the new `file` called `name` whole, or removes it.
    fn whole<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &CString,
        file: &OwnedFd,
        member: &Member,
        reader: &mut Reader<R>,
    ) -> io::Result<bool> {
        let made = self
            .fill(file, member, reader)
            .and_then(|()| self.finish(file, member));
        if made.is_err() {
            // The first error is the one to tell.
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
        }
        made.map(|()| true)
    }

    /// A new file of `parent` called `name`.
    fn made(
        &self,
        parent: &OwnedFd,
        name: &CString,
        member: &Member,
    ) -> rustix::io::Result<OwnedFd> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, self.first_mode(member))
    }

    /// Gives the whole `file` a unique name, from which it is renamed to its place.
    fn linked(&mut self, parent: &OwnedFd, file: &OwnedFd) -> io::Result<CString> {
        loop {
            let name = self.new_name()?;
            match nameless::link(file, parent, &name) {
                Ok(()) => return Ok(name),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn new_name(&mut self) -> io::Result<CString> {
        self.temporary += 1;
        let text = format!(".container-{}-{}", std::process::id(), self.temporary);
        Ok(CString::new(text)?)
    }

    /// A new file of `parent`, and its name.
    fn temporary(&mut self, parent: &OwnedFd, member: &Member) -> io::Result<(CString, OwnedFd)> {
        loop {
            let name = self.new_name()?;
            match self.made(parent, &name, member) {
                Ok(file) => return Ok((name, file)),
                // The archive has such a name, too, or a process of this number was killed.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn fill<R: Read>(
        &mut self,
        file: &OwnedFd,
        member: &Member,
        reader: &mut Reader<R>,
    ) -> io::Result<()> {
        let whole = [Run {
            offset: 0,
            length: member.size,
        }];
        for run in member.sparse.as_deref().unwrap_or(&whole) {
            let (mut offset, mut left) = (run.offset, run.length);
            while left > 0 {
                let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
                let count = reader.read(&mut self.buffer[..want])?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let mut written = 0;
                while written < count {
                    written += rustix::io::retry_on_intr(|| {
                        rustix::io::pwrite(
                            file,
                            &self.buffer[written..count],
                            offset + written as u64,
                        )
                    })?;
                }
                offset += count as u64;
                left -= count as u64;
            }
        }
        if member.sparse.is_some() {
            rustix::fs::ftruncate(file, member.size)?;
        }
        Ok(())
    }
}

/// As [`take_place`]; a file that cannot is removed.
fn place(parent: &OwnedFd, temporary: &CString, file: &OwnedFd, name: &CString) -> io::Result<()> {
    let placed = take_place(parent, temporary, file, name);
    if placed.is_err() {
        // The first error is the one to tell.
        let _ = rustix::fs::unlinkat(parent, temporary, AtFlags::empty());
    }
    placed
}

/// Renames the complete file `temporary` to `name`. Where something is mounted, its content is written there.
fn take_place(
    parent: &OwnedFd,
    temporary: &CString,
    file: &OwnedFd,
    name: &CString,
) -> io::Result<()> {
    match rustix::fs::renameat(parent, temporary, parent, name) {
        Err(Errno::BUSY) => {}
        renamed => return Ok(renamed?),
    }
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
    io::copy(
        &mut std::fs::File::from(file.try_clone()?),
        &mut std::fs::File::from(target),
    )?;
    rustix::fs::unlinkat(parent, temporary, AtFlags::empty())?;
    Ok(())
}
