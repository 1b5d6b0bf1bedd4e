//! Locks of the guest's programs, taken of the host's kernel: they hold between machines, and between a machine and the host.
//!
//! virtiofsd has no locks. A guest whose kernel shares them (`kernel/patches`) asks for them by an attribute of the file. Whoever owns a lock in
//! the guest has an open file description of their own here, whose locks are nobody else's (`fcntl`(2), "open file description locks"; `flock`(2)).
//! An answer never waits for a lock: the guest's kernel asks again. A description is closed with the last lock that it has, and all of them with
//! this process.

mod description;
mod ranges;
mod request;

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use self::description::Description;
pub use self::description::Duplicate;
use self::request::Request;

type Inode = u64;

/// Name of the attribute of the root by which a guest says that it shares locks.
pub const OFFER: &CStr = c"virtiofs.locks";
/// Name of the attribute of a file by which a guest asks for a lock, or gives it back.
pub const LOCK: &CStr = c"virtiofs.lock";
/// What the name begins with by which it asks who has a lock; the rest is the request, in hexadecimal digits.
const QUESTION: &[u8] = b"virtiofs.lock.";

/// Most descriptions: owners of locks, each counted for each file.
const OWNERS_LIMIT: u64 = 4096;
/// Most ranges of bytes that are locked: each takes some 200 bytes of the host's kernel.
const RANGES_LIMIT: usize = 16 << 10;

/// How a file is opened to be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To be read, if that may be: one that is open to be written is no program that the host could start.
    Read,
    /// To be written, too, if that may be: only then its bytes are locked for one alone.
    Write,
}

/// Descriptors of `limit` that may be those of locks.
pub fn reserve(limit: u64) -> u64 {
    (limit / 16).min(OWNERS_LIMIT)
}

/// The locks of a guest.
#[derive(Debug)]
pub struct Locks {
    held: Mutex<Held>,
    limits: Limits,
    /// The guest has asked for nothing yet: only its kernel can make the first request.
    fresh: AtomicBool,
    shared: AtomicBool,
}

/// How many descriptions there may be, and how many ranges.
#[derive(Clone, Copy, Debug)]
struct Limits {
    owners: usize,
    ranges: usize,
}

#[derive(Debug, Default)]
struct Held {
    /// By file, and by owner and kind in the guest.
    descriptions: HashMap<(Inode, u64, bool), Description>,
    /// How many ranges they have.
    ranges: usize,
    /// One without locks, for who asks next: the host tells others of each that is opened and closed.
    spare: Option<(Inode, Access, File)>,
}

impl Locks {
    /// None yet; at most `reserve` owners may have some.
    pub fn new(reserve: u64) -> Self {
        Self {
            held: Mutex::default(),
            limits: Limits {
                owners: usize::try_from(reserve).unwrap_or(usize::MAX),
                ranges: RANGES_LIMIT,
            },
            fresh: AtomicBool::new(false),
            shared: AtomicBool::new(false),
        }
    }

    /// A guest begins: its first request may be the offer.
    pub fn begin(&self) {
        self.end();
        self.fresh.store(true, Ordering::Relaxed);
    }

    /// The guest asks for something else than to share locks.
    pub fn asked(&self) {
        self.fresh.store(false, Ordering::Relaxed);
    }

    /// The guest is gone, and its locks with it.
    pub fn end(&self) {
        self.shared.store(false, Ordering::Relaxed);
        *super::leases::lock(&self.held) = Held::default();
    }

    /// Takes the offer. A program of the guest could take locks in the name of others, so only the first request counts.
    pub fn take(&self) -> bool {
        let is_first = self.fresh.swap(false, Ordering::Relaxed);
        self.shared.fetch_or(is_first, Ordering::Relaxed);
        is_first
    }

    /// Whether the guest's kernel asks for locks by attributes.
    pub fn are_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// What is asked for by the attribute `name`, if that is a question.
    pub fn question<'a>(&self, name: &'a CStr) -> Option<&'a [u8]> {
        let rest = name.to_bytes().strip_prefix(QUESTION)?;
        self.are_shared().then_some(rest)
    }

    /// Takes the lock of the file `inode` that is asked for, or gives it back. `open` makes a new description of the file.
    ///
    /// # Errors
    /// `EAGAIN` if somebody else has it, `ENOLCK` if there are too many, `EINVAL` if the request is none, `EBADF` if the file is not to be
    /// written, and whatever `open` says.
    pub fn set(
        &self,
        inode: Inode,
        request: &[u8],
        open: impl Fn(Access) -> io::Result<File>,
    ) -> io::Result<()> {
        let request = Request::parse(request).ok_or(Errno::INVAL)?;
        let mut held = super::leases::lock(&self.held);
        held.set(inode, &request, self.limits, open)
    }

    /// Who has a lock that keeps the one of `question` from being taken: its start, end and kind (`struct fuse_lock_out` of the guest's kernel).
    ///
    /// # Errors
    /// `EINVAL` if the question is none, and whatever `open` says.
    pub fn test(
        &self,
        inode: Inode,
        question: &[u8],
        open: impl Fn(Access) -> io::Result<File>,
    ) -> io::Result<Vec<u8>> {
        let request = Request::parse_digits(question).ok_or(Errno::INVAL)?;
        let mut held = super::leases::lock(&self.held);
        let found = if let Some(description) = held.descriptions.get(&request.key(inode)) {
            description.test(&request)
        } else {
            let description = held.unlocked(inode, Access::Write, open)?;
            let found = description.test(&request);
            held.spare = Some((inode, Access::Write, description.into_file()));
            found
        };
        Ok(request::answer(found?))
    }

    /// The guest has forgotten the file: what is deleted of it gives its space back.
    pub fn forget(&self, inode: Inode) {
        let mut held = super::leases::lock(&self.held);
        held.spare.take_if(|(spare, ..)| *spare == inode);
    }
}

impl Held {
    fn set(
        &mut self,
        inode: Inode,
        request: &Request,
        limits: Limits,
        open: impl Fn(Access) -> io::Result<File>,
    ) -> io::Result<()> {
        let key = request.key(inode);
        let is_full = |held: &Self| {
            let is_known = held.descriptions.contains_key(&key);
            // One range may become three.
            (!is_known && held.descriptions.len() >= limits.owners)
                || held.ranges + 2 > limits.ranges
        };
        if request.mode.is_some() && is_full(self) {
            return Err(Errno::NOLCK.into());
        }
        let mut description = match self.descriptions.remove(&key) {
            Some(description) => description,
            None if request.mode.is_none() => return Ok(()),
            None => self.unlocked(inode, request.access(), &open)?,
        };
        self.ranges -= description.count();
        let mut set = description.set(request);
        if let (Err(error), true) = (&set, request.is_flock)
            && Errno::from_io_error(error) == Some(Errno::BADF)
        {
            // So it is on NFS, where these are locks of bytes.
            description = Description::new(open(Access::Write)?);
            set = description.set(request);
        }
        self.ranges += description.count();
        if description.count() > 0 {
            self.descriptions.insert(key, description);
        } else if set.is_ok() || would_block(&set) {
            self.spare = Some((inode, request.access(), description.into_file()));
        }
        set
    }

    /// A description of the file without locks.
    fn unlocked(
        &mut self,
        inode: Inode,
        access: Access,
        open: impl Fn(Access) -> io::Result<File>,
    ) -> io::Result<Description> {
        let spare = self
            .spare
            .take_if(|(spare, for_which, _)| (*spare, *for_which) == (inode, access));
        let file = spare.map_or_else(|| open(access), |(.., file)| Ok(file))?;
        Ok(Description::new(file))
    }
}

fn would_block(result: &io::Result<()>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests;
