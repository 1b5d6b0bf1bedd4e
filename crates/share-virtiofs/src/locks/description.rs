//! One owner's open file description, and the locks that it has.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use virtiofsd::filesystem::ZeroCopyWriter;
use virtiofsd::oslib::ReadvFlags;

use super::ranges::{LAST, Mode, Range, Ranges};
use super::request::Request;

/// A description, and the bytes that are locked by it: all of them for `flock`.
#[derive(Debug)]
pub struct Description {
    file: File,
    ranges: Ranges,
}

impl Description {
    /// One that has no locks.
    pub fn new(file: File) -> Self {
        Self {
            file,
            ranges: Ranges::default(),
        }
    }

    /// The description, which has no locks any more.
    pub fn into_file(self) -> File {
        self.file
    }

    /// How many ranges it has locked.
    pub fn count(&self) -> usize {
        self.ranges.count()
    }

    /// Takes a lock, without waiting, or gives it back.
    pub fn set(&mut self, request: &Request) -> io::Result<()> {
        if request.is_flock {
            let flocked = self.flock(request.mode);
            if flocked.is_err() {
                // Who cannot change a lock of this kind has lost it (`flock`(2)), and nowhere has it any more.
                let _ = flock(&self.file, FlockOperation::Unlock);
                self.ranges.clear();
            }
            flocked?;
        } else {
            let mut lock = record(request.range, request.mode);
            self.fcntl(libc::F_OFD_SETLK, &mut lock)?;
        }
        self.ranges.set(request.range, request.mode);
        Ok(())
    }

    fn flock(&self, mode: Option<Mode>) -> io::Result<()> {
        let operation = match mode {
            Some(Mode::Read) => FlockOperation::NonBlockingLockShared,
            Some(Mode::Write) => FlockOperation::NonBlockingLockExclusive,
            None => FlockOperation::Unlock,
        };
        Ok(flock(&self.file, operation)?)
    }

    /// A lock of somebody else that is in the way.
    pub fn test(&self, request: &Request) -> io::Result<Option<(Range, Mode)>> {
        if request.is_flock || request.mode.is_none() {
            return Err(Errno::INVAL.into());
        }
        let mut lock = record(request.range, request.mode);
        self.fcntl(libc::F_OFD_GETLK, &mut lock)?;
        let mode = match i32::from(lock.l_type) {
            libc::F_UNLCK => return Ok(None),
            libc::F_RDLCK => Mode::Read,
            _ => Mode::Write,
        };
        // Not negative, as the kernel has it.
        let first = u64::try_from(lock.l_start).unwrap_or_default();
        let length = u64::try_from(lock.l_len).unwrap_or_default();
        let last = match length {
            0 => LAST,
            length => first.saturating_add(length - 1).min(LAST),
        };
        Ok(Some((Range { first, last }, mode)))
    }

    fn fcntl(&self, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
        // SAFETY: an open descriptor, and a record that is whole and ours for the time of the call.
        let result = unsafe { libc::fcntl(self.file.as_raw_fd(), command, &raw mut *lock) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match Errno::from_io_error(&error) {
            // The same by another name (`fcntl`(2)).
            Some(Errno::ACCESS) => Err(Errno::AGAIN.into()),
            _ => Err(error),
        }
    }
}

fn record(range: Range, mode: Option<Mode>) -> libc::flock {
    let kind = match mode {
        Some(Mode::Read) => libc::F_RDLCK,
        Some(Mode::Write) => libc::F_WRLCK,
        None => libc::F_UNLCK,
    };
    // Numbers up to `LAST`, and a length of 0 for the rest of the file, which alone may be longer.
    let length = match range.last {
        LAST => 0,
        last => last - range.first + 1,
    };
    let signed = |number: u64| i64::try_from(number).unwrap_or_default();
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: 0, // SEEK_SET
        l_start: signed(range.first),
        l_len: signed(length),
        l_pid: 0,
    }
}

/// Gets the file that the file server would read: it hands none out otherwise.
#[derive(Debug, Default)]
pub struct Duplicate(pub Option<File>);

impl ZeroCopyWriter for Duplicate {
    fn read_from_file_at(
        &mut self,
        file: &File,
        _: usize,
        _: u64,
        _: Option<ReadvFlags>,
    ) -> io::Result<usize> {
        self.0 = Some(file.try_clone()?);
        Ok(0)
    }
}
