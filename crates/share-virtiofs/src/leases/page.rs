//! The page of the guest's memory: `struct fuse_leases` of the guest's kernel (`kernel/patches`).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use vhost_user_backend::bitmap::BitmapMmapRegion;
use virtiofsd::fuse::Attr;
use vm_memory::{
    Address, Bytes, GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryAtomic,
    GuestMemoryMmap,
};

use super::lock;

/// The guest's memory.
pub type Memory = GuestMemoryAtomic<GuestMemoryMmap<BitmapMmapRegion>>;

/// Bytes of the page.
const SIZE: usize = 4096;
/// Where the attributes begin, for how many files there is room, and what one takes.
const WRITTEN: u64 = 64;
/// Where the lease of data is, and in what is of a file the word about that.
const DATA: u64 = 8;
const QUIET: u64 = 112;
const FILES: usize = 31;
const FILE: u64 = 128;
/// What a lease has in its upper bits, by which it is no number of seconds.
const MARK: u64 = 0x8000 << 48;
/// Largest file whose attributes are told of after a write, in bytes: others have cached pages that the guest would drop.
pub const SMALL: u64 = 64 << 10;

/// A lease: it holds as long as the page has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(u64);

impl Lease {
    /// As it is told in the place of a time.
    pub fn told(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

/// A lease of data. A file whose data were told of under it is written by nobody else as long as the page has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataLease(u32);

/// The page, once the guest has given one.
#[derive(Debug)]
pub struct Page {
    memory: Memory,
    /// The lease that holds, or the last one.
    lease: AtomicU64,
    /// That of data, or 0.
    data: AtomicU32,
    /// Leases have been given since the last one was revoked.
    given: AtomicBool,
    place: Mutex<Place>,
}

#[derive(Debug, Default)]
struct Place {
    address: Option<GuestAddress>,
    /// Whose attributes the page has, and how often they were written.
    nodes: [(u64, u64); FILES],
}

impl Page {
    /// None yet, in `memory`.
    pub fn new(memory: Memory) -> Self {
        Self {
            memory,
            lease: AtomicU64::new(0),
            data: AtomicU32::new(0),
            given: AtomicBool::new(false),
            place: Mutex::default(),
        }
    }

    /// Begins to use the page at `address`, which the guest has cleared. Tells whether there is one.
    pub fn take(&self, address: u64) -> bool {
        let address = GuestAddress(address);
        let memory = self.memory.memory();
        if address.raw_value() % SIZE as u64 != 0 || !memory.check_range(address, SIZE) {
            return false;
        }
        let mut place = lock(&self.place);
        *place = Place {
            address: Some(address),
            ..Place::default()
        };
        self.renew(&place);
        self.renew_data(&place);
        true
    }

    /// Writes there no more.
    pub fn withdraw(&self) {
        let mut place = lock(&self.place);
        self.lease.store(0, Ordering::Release);
        self.data.store(0, Ordering::Release);
        *place = Place::default();
    }

    /// Whether the guest knows of leases.
    pub fn is_taken(&self) -> bool {
        self.lease.load(Ordering::Acquire) != 0
    }

    /// The lease that holds, to be given to somebody.
    pub fn lease(&self) -> Option<Lease> {
        let lease = self.lease.load(Ordering::Acquire);
        if lease == 0 {
            return None;
        }
        self.given.store(true, Ordering::Relaxed);
        Some(Lease(lease))
    }

    /// The lease of data that holds. It is looked at before the file is.
    pub fn data(&self) -> Option<DataLease> {
        let data = self.data.load(Ordering::SeqCst);
        (data != 0).then_some(DataLease(data))
    }

    /// Ends all leases that were given.
    pub fn revoke(&self) {
        let place = lock(&self.place);
        if self.given.load(Ordering::Relaxed) {
            self.renew(&place);
        }
        self.renew_data(&place);
    }

    /// Ends those of data alone.
    pub fn revoke_data(&self) {
        self.renew_data(&lock(&self.place));
    }

    fn renew_data(&self, place: &Place) {
        static NEXT: AtomicU32 = AtomicU32::new(1);

        let Some(address) = place.address else {
            return;
        };
        // It begins again after years; 0 is none.
        let data = NEXT.fetch_add(1, Ordering::Relaxed).max(1);
        self.data.store(data, Ordering::SeqCst);
        let place = address.unchecked_add(DATA);
        // As in `renew`.
        let _ = self.memory.memory().store(data, place, Ordering::Release);
    }

    /// Tells that nobody else has the file `node` open for writing, or has had since there was the lease `data`.
    pub fn tell_quiet(&self, node: u64, data: DataLease) {
        let place = lock(&self.place);
        let (Some(address), Ok(number)) = (place.address, u32::try_from(node)) else {
            return;
        };
        let word = u64::from(number) << 32 | u64::from(data.0);
        let place = address.unchecked_add(WRITTEN + node % FILES as u64 * FILE + QUIET);
        // As in `renew`.
        let _ = self.memory.memory().store(word, place, Ordering::Release);
    }

    fn renew(&self, place: &Place) {
        static NEXT: AtomicU64 = AtomicU64::new(1);

        let Some(address) = place.address else {
            return;
        };
        let lease = MARK | NEXT.fetch_add(1, Ordering::Relaxed);
        // First here: what is found from now on is told of under the new one.
        self.given.store(false, Ordering::SeqCst);
        self.lease.store(lease, Ordering::SeqCst);
        // The guest may have no such memory any more, and then it looks at none.
        let _ = self
            .memory
            .memory()
            .store(lease, address, Ordering::Release);
    }

    /// Tells of the attributes of the file `node` after a write, under a lease, or takes back what was told.
    pub fn write(&self, node: u64, found: Option<(Lease, Attr)>) {
        let mut place = lock(&self.place);
        let Some(address) = place.address else {
            return;
        };
        let number = node % FILES as u64;
        // Less than `FILES`.
        let (told, version) = &mut place.nodes[usize::try_from(number).unwrap_or_default()];
        if found.is_none() && *told != node {
            return;
        }
        *told = if found.is_some() { node } else { 0 };
        *version += 2;
        let version = *version;
        let place = address.unchecked_add(WRITTEN + number * FILE);
        let memory = self.memory.memory();
        let at = |bytes| place.unchecked_add(bytes);
        let written = (|| {
            memory.store(version - 1, place, Ordering::Release)?;
            fence(Ordering::SeqCst);
            if let Some((lease, attributes)) = found {
                memory.write_obj([node, lease.0], at(8))?;
                memory.write_obj(attributes, at(24))?;
            } else {
                memory.write_obj([0_u64; 2], at(8))?;
            }
            fence(Ordering::SeqCst);
            memory.store(version, place, Ordering::Release)
        })();
        // As above.
        let _ = written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 0x3000;

    fn memory() -> Memory {
        let ranges = [(GuestAddress(0), 0x10_000)];
        GuestMemoryAtomic::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
    }

    fn number(memory: &Memory, address: u64) -> u64 {
        memory
            .memory()
            .load(GuestAddress(address), Ordering::Relaxed)
            .unwrap()
    }

    #[test]
    fn a_lease_holds_until_it_is_revoked() {
        let memory = memory();
        let page = Page::new(memory.clone());
        assert_eq!(page.lease(), None);
        assert!(page.take(PAGE));
        let lease = page.lease().unwrap();
        assert_eq!(lease.told(), Duration::from_secs(number(&memory, PAGE)));
        // In the kernel's range, and nobody's seconds.
        assert_eq!(number(&memory, PAGE) >> 48, 0x8000);
        page.revoke();
        let other = page.lease().unwrap();
        assert!(other != lease && number(&memory, PAGE) == other.0);
        page.withdraw();
        page.revoke();
        assert_eq!((page.lease(), number(&memory, PAGE)), (None, other.0));
    }

    #[test]
    fn a_page_is_one_of_the_guests() {
        let page = Page::new(memory());
        for address in [8, 0xF008, 0x10_000, 0x7FFF_F000, u64::MAX - 4095, u64::MAX] {
            assert!(!page.take(address), "{address:#x}");
        }
        assert!(page.lease().is_none() && page.take(0xF000));
    }

    #[test]
    fn data_have_a_lease_that_ends_alone_or_with_the_other() {
        let memory = memory();
        let page = Page::new(memory.clone());
        assert_eq!(page.data(), None);
        assert!(page.take(PAGE));
        let (lease, data) = (page.lease().unwrap(), page.data().unwrap());
        assert_eq!(number(&memory, PAGE + 8), u64::from(data.0));
        page.revoke_data();
        let second = page.data().unwrap();
        assert!(second != data && page.lease() == Some(lease));
        page.tell_quiet(33, second);
        // Apart from what a write leaves there.
        page.write(2, None);
        let word = PAGE + 64 + 2 * 128 + 112;
        assert_eq!(number(&memory, word), 33 << 32 | u64::from(second.0));
        page.tell_quiet(1 << 40, second);
        page.revoke();
        assert!(page.lease() != Some(lease) && page.data() != Some(second));
        page.withdraw();
        page.revoke_data();
        assert_eq!(page.data(), None);
    }

    #[test]
    fn attributes_after_a_write_are_whole() {
        let memory = memory();
        let page = Page::new(memory.clone());
        assert!(page.take(PAGE));
        let lease = page.lease().unwrap();
        let attributes = Attr {
            ino: 7,
            size: 99,
            flags: 5,
            ..Attr::default()
        };
        page.write(33, Some((lease, attributes)));
        let place = PAGE + 64 + 2 * 128;
        // version, nodeid, lease, attr.ino, attr.size; attr.flags is the last of 88 bytes.
        let told: Vec<_> = (0..5)
            .map(|word| number(&memory, place + 8 * word))
            .collect();
        assert_eq!(told, [2, 33, lease.0, 7, 99]);
        assert_eq!(number(&memory, place + 24 + 80) >> 32, 5);
        // Another one of the same place, about which nothing was told.
        page.write(2, None);
        assert_eq!(number(&memory, place + 8), 33);
        page.write(33, None);
        assert_eq!((number(&memory, place), number(&memory, place + 8)), (4, 0));
    }
}
