//! What a guest need not ask for again until the host changes something.
//!
//! A name or attributes are valid for a time, as whatever the host changes is to be seen within a second. A guest whose kernel knows of leases
//! (`kernel/patches`) gives this process a page of its memory, and takes what was answered under a lease for true as long as that page has the
//! same lease. The kernel of the host tells of changes in the directories that the guest knows; each ends the lease. So a guest that looks
//! at the same files again and again asks nobody, and sees a change at once.
//!
//! Data have a lease of their own: a mapping changes them without an event. But who may change a file has it open for writing. So data that the guest
//! has read are valid from a moment at which nobody had, until anybody opens a file.

mod directories;
mod events;
mod page;
mod quiet;
mod revocation;

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use virtiofsd::filesystem::Entry;
use virtiofsd::fuse::Attr;

use self::directories::Directories;
use self::events::Events;
use self::page::Page;
pub use self::page::{DataLease, Lease, Memory};

type Inode = u64;

/// Name of the attribute of the root by which a guest gives its page: the address, 8 bytes.
pub const OFFER: &CStr = c"virtiofs.leases";

/// Most directories that are watched; what is in others has no lease.
const DIRECTORIES_LIMIT: u64 = 16 << 10;

/// Descriptors of `limit` that may be those of watched directories.
pub fn reserve(limit: u64) -> u64 {
    (limit / 16).min(DIRECTORIES_LIMIT)
}

/// The leases of a guest.
#[derive(Debug)]
pub struct Leases {
    page: Arc<Page>,
    directories: Mutex<Directories>,
    /// Files in watched directories.
    files: Mutex<HashMap<Inode, Told>>,
    /// The guest has asked for nothing yet: only its kernel can make the first request.
    fresh: AtomicBool,
}

/// What the guest was told of a file.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// That of its attributes.
    lease: Lease,
    /// That of its data, once there was one.
    data: Option<DataLease>,
    /// The mount it is on, if it shows who has it open.
    mount: Option<u64>,
}

impl Leases {
    /// Leases by a page of `memory`; `descriptors` lists those of this process. `reserve` directories may be watched.
    ///
    /// # Errors
    /// When the host cannot tell of changes.
    pub fn start(memory: Memory, descriptors: OwnedFd, reserve: u64) -> io::Result<Self> {
        quiet::ignore_signal();
        let page = Arc::new(Page::new(memory));
        let events = Events::new(descriptors)?;
        revocation::start(events.try_clone()?, page.clone())?;
        Ok(Self {
            page,
            directories: Mutex::new(Directories::new(events, reserve)?),
            files: Mutex::default(),
            fresh: AtomicBool::new(false),
        })
    }

    /// A guest begins: its first request may be the offer of a page.
    pub fn begin(&self) {
        self.end();
        self.fresh.store(true, Ordering::Relaxed);
    }

    /// The guest asks for something else than to take a page.
    pub fn asked(&self) {
        self.fresh.store(false, Ordering::Relaxed);
    }

    /// The guest is gone, and its page with it.
    pub fn end(&self) {
        self.page.withdraw();
        lock(&self.directories).clear();
        lock(&self.files).clear();
    }

    /// Takes the page whose address `value` is. A program of the guest could have another one written to, so only the first request counts.
    pub fn take(&self, value: &[u8]) -> bool {
        let address = <[u8; 8]>::try_from(value).map(u64::from_ne_bytes);
        let is_first = self.fresh.swap(false, Ordering::Relaxed);
        is_first && address.is_ok_and(|address| self.page.take(address))
    }

    /// What can be said of what is in `parent`, before it is looked at.
    pub fn grant(&self, parent: Inode) -> Option<Lease> {
        let lease = self.page.lease()?;
        lock(&self.directories).is_watched(parent).then_some(lease)
    }

    /// Gives what was found as `name` in `parent` the `lease` that was there before.
    pub fn give(&self, lease: Option<Lease>, parent: Inode, name: &CStr, entry: &mut Entry) {
        if !self.page.is_taken() {
            return;
        }
        if let Some(lease) = lease {
            entry.entry_timeout = lease.told();
        }
        if is_directory(&entry.attr) {
            let mut directories = lock(&self.directories);
            let was_watched = directories.is_watched(entry.inode);
            if directories.enter(parent, name, entry.inode, entry.attr.ino) {
                self.page.revoke();
            }
            if let (Some(lease), true) = (lease, was_watched) {
                entry.attr_timeout = lease.told();
            }
            return;
        }
        // What happens in the root is not told of, which has mounted files; nor by another name of a file.
        let lease = lease.filter(|_| parent != virtiofsd::fuse::ROOT_ID && entry.attr.nlink == 1);
        if let Some(lease) = lease {
            entry.attr_timeout = lease.told();
            let mount = lock(&self.directories).mount(parent);
            let mut files = lock(&self.files);
            let data = files.get(&entry.inode).and_then(|told| told.data);
            files.insert(entry.inode, Told { lease, data, mount });
        } else {
            lock(&self.files).remove(&entry.inode);
        }
    }

    /// What can be said of the attributes of `inode`, before they are looked at.
    pub fn of_attributes(&self, inode: Inode) -> Option<Lease> {
        let lease = self.page.lease()?;
        let is_told = lock(&self.files)
            .get(&inode)
            .is_some_and(|told| told.lease == lease);
        (is_told || lock(&self.directories).is_watched(inode)).then_some(lease)
    }

    /// The time for which `attributes` are valid under `lease`, or else `time`.
    pub fn validity(lease: Option<Lease>, attributes: &Attr, time: Duration) -> Duration {
        let is_told = is_directory(attributes) || attributes.nlink == 1;
        lease.filter(|_| is_told).map_or(time, Lease::told)
    }

    /// Tells the guest what a file is like after it has written to it up to byte `end`, if that has a lease.
    pub fn written(&self, inode: Inode, end: u64, look: impl FnOnce() -> io::Result<Attr>) {
        let lease = (end <= page::SMALL).then(|| self.of_attributes(inode));
        let found = lease.flatten().and_then(|lease| {
            let attributes = look().ok()?;
            (attributes.nlink == 1).then_some((lease, attributes))
        });
        self.page.write(inode, found);
    }

    /// What can be said of the data of a file, before it is created.
    pub fn data(&self) -> Option<DataLease> {
        self.page.data()
    }

    /// The guest has created the file `inode` when there was the lease `data` already: nobody else has it open.
    pub fn created(&self, inode: Inode, data: Option<DataLease>) {
        self.tell_quiet(inode, data, |_| true);
    }

    /// The guest is about to read the data of `inode` from `file`, which is open to be read.
    pub fn read(&self, inode: Inode, file: &File) {
        self.tell_quiet(inode, self.page.data(), |mount| {
            quiet::is_quiet(file, mount)
        });
    }

    fn tell_quiet(
        &self,
        inode: Inode,
        data: Option<DataLease>,
        is_quiet: impl FnOnce(u64) -> bool,
    ) {
        let (Some(data), Some(lease)) = (data, self.page.lease()) else {
            return;
        };
        let mut files = lock(&self.files);
        let Some(told) = files.get_mut(&inode) else {
            return;
        };
        let Some(mount) = told.mount.filter(|_| told.lease == lease) else {
            return;
        };
        // Once: who opens the file is kept waiting meanwhile, and no guest is to make much of that.
        if told.data == Some(data) || is_quiet(mount) {
            told.data = Some(data);
            self.page.tell_quiet(inode, data);
        }
    }

    /// Another name leads to the file `inode`, or may.
    pub fn linked(&self, inode: Inode) {
        lock(&self.files).remove(&inode);
    }

    /// Something was moved into the directory `to`.
    pub fn moved(&self, to: Inode) {
        if self.page.is_taken() && !lock(&self.directories).is_watched(to) {
            self.page.revoke();
        }
    }

    /// The guest has forgotten `count` of its looks at `inode`.
    pub fn forget(&self, inode: Inode, count: u64) {
        if self.page.is_taken() {
            // It may be known by other looks, and asks then for a time only.
            lock(&self.files).remove(&inode);
            lock(&self.directories).forget(inode, count);
        }
    }
}

fn is_directory(attributes: &Attr) -> bool {
    attributes.mode & libc::S_IFMT == libc::S_IFDIR
}

/// A panic with a lock held ends the process.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
