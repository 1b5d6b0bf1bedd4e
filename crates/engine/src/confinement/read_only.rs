//! Files that a VMM may read, opened so that nobody can write through their descriptors.
//!
//! Access is checked when a descriptor is opened, and a descriptor can be opened again. So the files are opened through
//! a mount that is read-only: whoever opens them again that way, changes their mode or their length is told
//! `EROFS` by the kernel, whatever his id.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{FileType, Mode, OFlags};

use super::mount;

/// A file of the host that is to be opened again.
#[derive(Debug)]
pub(super) struct ReadOnly {
    number: RawFd,
    path: CString,
    /// Device and inode: what the path means must be what is open.
    file: (u64, u64),
}

/// Finds those of `descriptors` that are files of the host and open for reading only. Files in memory are in no
/// mount; theirs are sealed.
pub(super) fn plan(descriptors: &[RawFd]) -> io::Result<Vec<ReadOnly>> {
    let mut found = Vec::new();
    for number in descriptors.iter().copied() {
        // SAFETY: the caller holds the descriptors open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let status = rustix::fs::fstat(descriptor)?;
        let reads = rustix::fs::fcntl_getfl(descriptor)? & OFlags::RWMODE == OFlags::RDONLY;
        let regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
        if !reads || !regular || status.st_nlink == 0 {
            continue;
        }
        let path = std::fs::read_link(format!("/proc/self/fd/{number}"))?;
        found.push(ReadOnly {
            number,
            path: CString::new(OsString::from(path).into_vec())?,
            file: (status.st_dev, status.st_ino),
        });
    }
    Ok(found)
}

impl ReadOnly {
    pub(super) fn number(&self) -> RawFd {
        self.number
    }

    /// Opens the file again in the calling process, which has mounts of its own, under the same number. Allocates nothing.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let tree = mount::read_only(&self.path)?;
        let file = open_again(&tree)?;
        let status = rustix::fs::fstat(&file)?;
        if (status.st_dev, status.st_ino) != self.file {
            // Somebody put another file in its place meanwhile.
            return Err(rustix::io::Errno::STALE.into());
        }
        put_in_place(&file, self.number)
    }
}

/// Puts `file` in the place of the descriptor `number`. As all others it is closed by exec unless it is given to the program.
fn put_in_place(file: &OwnedFd, number: RawFd) -> io::Result<()> {
    // SAFETY: takes two integers. What `number` was is closed by it, and nobody in this new process owns it.
    let result = unsafe { libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) };
    if result == number {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Opens what a mount's descriptor stands for. The name of a descriptor is short, and made without allocation.
fn open_again(tree: &OwnedFd) -> io::Result<OwnedFd> {
    let mut name = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let mut number = tree.as_raw_fd().unsigned_abs();
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    for place in (14..14 + digits).rev() {
        name[place] = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
    }
    let name = std::ffi::CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use crate::confinement::Isolation;

    /// Runs `act` in a process in namespaces of its own, whose ids have not been mapped, and returns its error.
    fn in_namespaces(act: impl Fn() -> io::Result<()>) -> io::Error {
        let flags = libc::c_long::from(Isolation::UserNamespace.flags() | libc::SIGCHLD);
        // SAFETY: without CLONE_VM this is a fork; the child makes system calls and ends.
        let pid =
            unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
        if pid == 0 {
            let error = act().err().and_then(|error| error.raw_os_error());
            // SAFETY: ends the process at once, running nothing of the parent's.
            unsafe { libc::_exit(error.unwrap_or(0)) }
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let options = rustix::process::WaitOptions::empty();
        let (_, status) = rustix::process::waitpid(Some(pid), options)
            .unwrap()
            .unwrap();
        io::Error::from_raw_os_error(status.exit_status().unwrap())
    }

    /// The mount alone: no filter, no Landlock, the owner's own id, and a `/proc` that is there.
    #[test]
    fn what_was_opened_again_cannot_be_written_by_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layer");
        std::fs::write(&path, "layer").unwrap();
        let file = File::open(&path).unwrap();
        let number = file.as_raw_fd();
        let plan = plan(&[number]).unwrap();
        let name = CString::new(format!("/proc/self/fd/{number}")).unwrap();
        let reopened = |act: &dyn Fn() -> rustix::io::Result<()>| {
            in_namespaces(|| {
                container_isolation::mount::make_private()?;
                plan[0].reopen()?;
                Ok(act()?)
            })
        };
        let write = || rustix::fs::open(&name, OFlags::RDWR, Mode::empty()).map(drop);
        let mode = || rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(0o777));
        let attribute = || {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::fsetxattr(file.as_fd(), c"user.x", b"y", flags)
        };
        for act in [&write as &dyn Fn() -> _, &mode, &attribute] {
            let error = reopened(act);
            assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{error}");
        }
        // It can be read, and is what it was.
        let read = || {
            let mut text = [0; 8];
            rustix::io::pread(&file, &mut text, 0).map(drop)
        };
        assert_eq!(reopened(&read).raw_os_error(), Some(0));
        // Without this, its owner can.
        write().unwrap();
    }

    #[test]
    fn a_file_that_took_its_place_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layer");
        std::fs::write(&path, "layer").unwrap();
        let file = File::open(&path).unwrap();
        let plan = plan(&[file.as_raw_fd()]).unwrap();
        std::fs::write(directory.path().join("other"), "other").unwrap();
        std::fs::rename(directory.path().join("other"), &path).unwrap();
        let error = in_namespaces(|| plan[0].reopen());
        assert_eq!(error.raw_os_error(), Some(libc::ESTALE), "{error}");
    }

    #[test]
    fn what_is_written_or_in_memory_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let writable = File::create(directory.path().join("disk")).unwrap();
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let memory = rustix::fs::memfd_create("memory", flags).unwrap();
        let pipe = rustix::pipe::pipe().unwrap().0;
        let all = [writable.as_raw_fd(), memory.as_raw_fd(), pipe.as_raw_fd()];
        assert!(plan(&all).unwrap().is_empty());
    }
}
