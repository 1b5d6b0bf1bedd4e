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
        // Of a stream that ends too early nothing has come to be.
        let held = self.hold(member, reader)?;
        if self.rules.in_place && self.is_new && held.is_some() {
            match self.made(parent, name, member) {
                Ok(file) => return self.whole(parent, name, &file, member, (reader, held)),
                // Another member of this name, or somebody of the same power.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => replaceable(FileType::from_raw_mode(found.st_mode))?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // A reader meanwhile sees the old file, or the whole new one.
        let Some(file) = nameless::create(parent, self.first_mode(member))? else {
            return self.named(parent, name, member, (reader, held));
        };
        self.fill(&file, member, (reader, held))?;
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
        content: Content<'_, R>,
    ) -> io::Result<bool> {
        let (temporary, file) = self.temporary(parent, member)?;
        self.whole(parent, &temporary, &file, member, content)?;
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
        content: Content<'_, R>,
    ) -> io::Result<bool> {
        let made = self
            .fill(file, member, content)
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

    /// Reads all of a small file; gives how much that is.
    fn hold<R: Read>(
        &mut self,
        member: &Member,
        reader: &mut Reader<R>,
    ) -> io::Result<Option<usize>> {
        let size = usize::try_from(member.size).unwrap_or(usize::MAX);
        if member.sparse.is_some() || size > BUFFER {
            return Ok(None);
        }
        let mut filled = 0;
        while filled < size {
            match reader.read(&mut self.buffer[filled..size])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(Some(size))
    }

    fn fill<R: Read>(
        &mut self,
        file: &OwnedFd,
        member: &Member,
        (reader, held): Content<'_, R>,
    ) -> io::Result<()> {
        if let Some(held) = held {
            self.write(file, held, 0)?;
            if self.rules.holes {
                rustix::fs::ftruncate(file, member.size)?;
            }
            return Ok(());
        }
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
                self.write(file, count, offset)?;
                offset += count as u64;
                left -= count as u64;
            }
        }
        if member.sparse.is_some() || self.rules.holes {
            rustix::fs::ftruncate(file, member.size)?;
        }
        Ok(())
    }

    /// Writes the first `count` bytes of the buffer.
    fn write(&self, file: &OwnedFd, count: usize, offset: u64) -> io::Result<()> {
        let bytes = &self.buffer[..count];
        if !self.rules.holes {
            return write_at(file, bytes, offset);
        }
        let mut done = 0;
        while done < count {
            let place = offset + done as u64;
            let data = data_at(&bytes[done..], place);
            write_at(file, &bytes[done..done + data], place)?;
            done += data;
            done += zeroes_at(&bytes[done..], offset + done as u64);
        }
        Ok(())
    }
}

fn write_at(file: &OwnedFd, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::retry_on_intr(|| {
            rustix::io::pwrite(file, &bytes[written..], offset + written as u64)
        })?;
    }
    Ok(())
}

/// Bytes of a file system's block.
const BLOCK: u64 = 4096;

/// How many of `bytes`, which are a file's from `offset` on, are of blocks that have something else than zeroes before the first that has not.
fn data_at(bytes: &[u8], offset: u64) -> usize {
    count_blocks(bytes, offset, |block| block.iter().any(|byte| *byte != 0))
}

/// How many of `bytes` are of blocks of zeroes before the first other one.
fn zeroes_at(bytes: &[u8], offset: u64) -> usize {
    count_blocks(bytes, offset, |block| block.iter().all(|byte| *byte == 0))
}

fn count_blocks(bytes: &[u8], offset: u64, counts: impl Fn(&[u8]) -> bool) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        let in_block = (offset + done as u64) % BLOCK;
        let rest = usize::try_from(BLOCK - in_block).unwrap_or(bytes.len());
        let end = bytes.len().min(done + rest);
        if !counts(&bytes[done..end]) {
            break;
        }
        done = end;
    }
    done
}

/// Where the content of a file comes from: the stream, unless so many bytes of the buffer are all of it.
type Content<'a, R> = (&'a mut Reader<R>, Option<usize>);

/// Whether a file takes the place of what is there. A device, a FIFO or a socket is somebody's way to something else: without its
/// `/dev/null` a container runs no program any more.
pub(super) fn replaceable(there: FileType) -> io::Result<()> {
    let what = match there {
        FileType::RegularFile | FileType::Symlink => return Ok(()),
        FileType::Directory => return Err(Errno::ISDIR.into()),
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(io::Error::other(format!("{what} is there")))
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
