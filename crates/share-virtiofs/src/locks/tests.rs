//! Locks of two machines, and of the host, on one file.

use rustix::fs::{FlockOperation, flock};

use super::request::tests::{bytes, digits};
use super::*;

const END: u64 = i64::MAX.unsigned_abs();
const INODE: Inode = 5;

struct Machine<'a> {
    locks: Locks,
    file: &'a tempfile::NamedTempFile,
}

impl Machine<'_> {
    fn ask(&self, owner: u64, first: u64, last: u64, kind: i32, is_flock: bool) -> io::Result<()> {
        let request = bytes(owner, first, last, kind, u32::from(is_flock));
        self.locks.set(INODE, &request, |_| self.file.reopen())
    }

    /// The error's number, 0 for none.
    fn record(&self, owner: u64, first: u64, last: u64, kind: i32) -> i32 {
        number(self.ask(owner, first, last, kind, false))
    }

    fn flock(&self, owner: u64, kind: i32) -> i32 {
        number(self.ask(owner, 0, END, kind, true))
    }

    /// Who is in the way: first and last byte, and kind.
    fn test(&self, owner: u64, first: u64, last: u64, kind: i32) -> (u64, u64, u32) {
        let request = bytes(owner, first, last, kind, 0);
        let digits = digits(&request);
        let found = self
            .locks
            .test(INODE, digits.as_bytes(), |_| self.file.reopen())
            .unwrap();
        let long = |at: usize| u64::from_ne_bytes(found[at..at + 8].try_into().unwrap());
        let kind = u32::from_ne_bytes(found[16..20].try_into().unwrap());
        assert_eq!(found.len(), 24);
        (long(0), long(8), kind)
    }
}

fn number(result: io::Result<()>) -> i32 {
    result.map_or_else(|error| error.raw_os_error().unwrap(), |()| 0)
}

fn machines(file: &tempfile::NamedTempFile) -> [Machine<'_>; 2] {
    [3, 3].map(|limit| Machine {
        locks: Locks::new(limit),
        file,
    })
}

const READ: i32 = libc::F_RDLCK;
const WRITE: i32 = libc::F_WRLCK;
const FREE: i32 = libc::F_UNLCK;
const HELD: i32 = libc::EAGAIN;

#[test]
fn bytes_are_locked_between_machines() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let [one, other] = machines(&file);
    assert_eq!(one.record(1, 0, 9, READ), 0);
    assert_eq!(other.record(1, 5, END, READ), 0);
    // What cannot be changed stays as it is.
    assert_eq!(one.record(1, 0, 9, WRITE), HELD);
    assert_eq!(other.record(2, 0, 4, WRITE), HELD);
    assert_eq!(other.test(2, 0, 4, WRITE), (0, 9, READ.unsigned_abs()));
    assert_eq!(one.test(1, 0, 9, WRITE), (5, END, READ.unsigned_abs()));
    assert_eq!(other.record(1, 5, END, FREE), 0);
    assert_eq!(one.record(1, 0, 9, WRITE), 0);
    assert_eq!(other.test(1, 9, 20, READ), (0, 9, WRITE.unsigned_abs()));
    // Owners of one machine are no less strangers.
    assert_eq!(one.record(2, 9, 9, READ), HELD);
    assert_eq!(one.record(1, 5, 9, FREE), 0);
    assert_eq!(other.record(1, 5, 5, WRITE), 0);
    assert_eq!(one.test(3, 20, 30, WRITE).2, FREE.unsigned_abs());
    // The machine is gone.
    drop(one);
    assert_eq!(other.record(2, 0, 4, WRITE), 0);
}

#[test]
fn files_are_locked_between_machines() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let [one, other] = machines(&file);
    assert_eq!((one.flock(1, READ), other.flock(1, READ)), (0, 0));
    // Both kinds have nothing to do with each other.
    assert_eq!(one.record(1, 0, END, WRITE), 0);
    // Who cannot change it loses it.
    assert_eq!(one.flock(1, WRITE), HELD);
    assert_eq!(other.flock(1, WRITE), 0);
    assert_eq!(one.flock(1, READ), HELD);
    other.locks.begin();
    assert_eq!(one.flock(2, WRITE), 0);
    assert_eq!(one.flock(2, FREE), 0);
    assert_eq!(other.flock(1, WRITE), 0);
}

#[test]
fn the_hosts_locks_are_the_same() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let [machine, _] = machines(&file);
    let host = file.reopen().unwrap();
    flock(&host, FlockOperation::LockExclusive).unwrap();
    assert_eq!(machine.flock(1, READ), HELD);
    flock(&host, FlockOperation::Unlock).unwrap();
    assert_eq!(machine.flock(1, READ), 0);
    let refused = flock(&host, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(refused, Err(Errno::WOULDBLOCK));
    // A process's own locks, as SQLite has them.
    let lock = |operation| rustix::fs::fcntl_lock(&host, operation);
    lock(FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(machine.record(1, 3, 3, WRITE), HELD);
    lock(FlockOperation::Unlock).unwrap();
    assert_eq!(machine.record(1, 3, 3, WRITE), 0);
    lock(FlockOperation::NonBlockingLockShared).unwrap_err();
}

#[test]
fn a_guest_has_so_many_locks_and_no_more() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let [mut machine, _] = machines(&file);
    machine.locks.limits.ranges = 20;
    for owner in 0..3 {
        assert_eq!(machine.record(owner, owner, owner, READ), 0);
    }
    assert_eq!(machine.flock(0, READ), libc::ENOLCK);
    assert_eq!(machine.record(3, 0, 0, READ), libc::ENOLCK);
    // What had its last lock makes room; what never had one needs none.
    assert_eq!(machine.record(9, 0, END, FREE), 0);
    assert_eq!(machine.record(2, 0, END, FREE), 0);
    assert_eq!(machine.record(3, 0, 0, READ), 0);
    let mut taken = 0;
    while machine.record(3, 2 * taken, 2 * taken, READ) == 0 {
        taken += 1;
    }
    // With those of the first two owners, and room for what splits one.
    assert_eq!(taken, 17);
    assert_eq!(machine.record(3, 9, 9, READ), libc::ENOLCK);
    assert_eq!(machine.record(3, 0, END, FREE), 0);
    assert_eq!(machine.record(3, 0, 0, READ), 0);
}

#[test]
fn a_file_that_may_not_be_written_is_locked_for_reading() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let locks = Locks::new(3);
    let ask = |kind, flock| {
        let open = |_| File::open(file.path());
        number(locks.set(INODE, &bytes(1, 0, END, kind, flock), open))
    };
    assert_eq!((ask(READ, 0), ask(WRITE, 0)), (0, libc::EBADF));
    assert_eq!(ask(WRITE, 1), 0);
    assert_eq!(
        number(locks.set(INODE, &[0; 31], |_| file.reopen())),
        libc::EINVAL
    );
}

#[test]
fn who_tries_again_opens_nothing_again() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let [one, other] = machines(&file);
    assert_eq!(one.flock(1, WRITE), 0);
    let opened = std::cell::Cell::new(0);
    let ask = |inode| {
        let open = |_| {
            opened.set(opened.get() + 1);
            file.reopen()
        };
        number(other.locks.set(inode, &bytes(1, 0, END, WRITE, 1), open))
    };
    assert_eq!((ask(INODE), ask(INODE), opened.get()), (HELD, HELD, 1));
    assert_eq!((ask(6), opened.get()), (HELD, 2));
    other.locks.forget(5);
    assert_eq!((ask(6), opened.get()), (HELD, 2));
    // What is deleted gives its space back.
    other.locks.forget(6);
    assert_eq!((ask(6), opened.get()), (HELD, 3));
}

#[test]
fn a_file_is_open_to_be_written_only_for_its_bytes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let asked = std::cell::RefCell::new(Vec::new());
    let locks = Locks::new(3);
    let open = |access| {
        asked.borrow_mut().push(access);
        // As on NFS: for locks that nobody shares it is to be written.
        if access == Access::Read {
            return Ok(rustix::fs::open(
                file.path(),
                rustix::fs::OFlags::PATH,
                rustix::fs::Mode::empty(),
            )?
            .into());
        }
        file.reopen()
    };
    for (kind, flock, expected) in [
        (READ, 0, &[Access::Write][..]),
        (FREE, 0, &[]),
        (WRITE, 1, &[Access::Read, Access::Write]),
        (WRITE, 0, &[Access::Write]),
    ] {
        locks
            .set(INODE, &bytes(1, 0, END, kind, flock), open)
            .unwrap();
        assert_eq!(asked.take(), expected);
        locks.forget(INODE);
    }
}
