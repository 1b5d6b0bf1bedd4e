//! Whether anybody has a file open to write to it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{AtFlags, Statx, StatxFlags, statx};

const ASKED: StatxFlags = StatxFlags::NLINK.union(StatxFlags::MNT_ID);

/// The mount that `place` is on, where the kernel tells it (Linux 5.8).
pub fn mount(place: impl AsFd) -> Option<u64> {
    look(place).map(|found| found.stx_mnt_id)
}

fn look(place: impl AsFd) -> Option<Statx> {
    let found = statx(place, c"", AtFlags::EMPTY_PATH, ASKED).ok()?;
    let is_told = StatxFlags::from_bits_retain(found.stx_mask).contains(ASKED);
    is_told.then_some(found)
}

/// Whether nobody can write to `file`, which is open to be read, until it is opened again: it has one name, on the `mount` of its directory, and
/// nobody has it open for writing. A mapping that can be written to counts as such.
///
/// The kernel gives a lease for reading only then (`fcntl`(2)). It is given back at once: who opens the file in the microseconds between waits for
/// that, or is told `EWOULDBLOCK` with `O_NONBLOCK`. It is refused for a file of another user, and where a file system has no leases.
pub fn is_quiet(file: &File, mount: u64) -> bool {
    let is_here = |found: Statx| found.stx_nlink == 1 && found.stx_mnt_id == mount;
    look(file).is_some_and(is_here) && lease(file, libc::F_RDLCK) && lease(file, libc::F_UNLCK)
}

fn lease(file: &File, kind: libc::c_int) -> bool {
    // SAFETY: an open descriptor and two numbers.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) == 0 }
}

/// The kernel tells this process by SIGIO of who opens a file between the two calls. That is to end no process.
pub fn ignore_signal() {
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn a_file_is_quiet_unless_somebody_may_write_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "data").unwrap();
        let here = mount(File::open(directory.path()).unwrap()).unwrap();
        let is_quiet = || is_quiet(&File::open(&path).unwrap(), here);
        if !lease(&File::open(&path).unwrap(), libc::F_RDLCK) {
            // A file system of this host without leases.
            assert!(!is_quiet());
            return;
        }
        assert!(is_quiet());
        let reader = File::open(&path).unwrap();
        assert!(is_quiet());
        drop(reader);
        let open = |append| File::options().read(true).append(append).open(&path);
        let writer = open(true).unwrap();
        assert!(!is_quiet());
        // SAFETY: a new mapping of an open file, which is only taken away again.
        let mapping = unsafe {
            let rights = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(
                ptr::null_mut(),
                4,
                rights,
                libc::MAP_SHARED,
                writer.as_raw_fd(),
                0,
            )
        };
        assert_ne!(mapping, libc::MAP_FAILED);
        drop(writer);
        assert!(!is_quiet(), "it is mapped");
        // SAFETY: the mapping, to which nothing refers.
        unsafe { libc::munmap(mapping, 4) };
        assert!(is_quiet());
        // Whoever comes now is not kept waiting.
        drop(open(true).unwrap());
        // Another mount, and another name.
        assert!(!super::is_quiet(&File::open(&path).unwrap(), here + 1));
        std::fs::hard_link(&path, directory.path().join("other")).unwrap();
        assert!(!is_quiet());
    }
}
