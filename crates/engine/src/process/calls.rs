//! The VMM's system calls on which its owner decides (`SECCOMP_RET_USER_NOTIF`, `seccomp_unotify`(2)). Where nobody
//! listens any more, the kernel answers them with `ENOSYS`.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS` and `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` of linux/seccomp.h, from Linux 6.6.
const SET_FLAGS: libc::Ioctl = 0x4008_2104;
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// The listener for one process's system calls.
#[derive(Debug)]
pub(super) struct Calls(OwnedFd);

/// A call that waits for its answer.
#[derive(Debug)]
pub(super) struct Call(libc::seccomp_notif);

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// The kernel carries it out.
    Continue,
    /// It returns 0 without having done anything.
    Nothing,
    /// It fails.
    Fails(Errno),
}

impl Call {
    /// Number of the system call.
    pub(super) fn number(&self) -> libc::c_long {
        self.0.data.nr.into()
    }

    /// Its arguments.
    pub(super) fn arguments(&self) -> &[u64; 6] {
        &self.0.data.args
    }

    /// Answers the question what a descriptor of the calling process is, in its memory at `target`.
    pub(super) fn status(&self, process: &OwnedFd, descriptor: u64, target: u64) -> io::Result<()> {
        let number = RawFd::try_from(descriptor).map_err(|_| Errno::BADF)?;
        let flags = rustix::process::PidfdGetfdFlags::empty();
        let file = rustix::process::pidfd_getfd(process, number, flags)?;
        // SAFETY: the structure consists of integers.
        let mut status: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open, and the structure is what the call fills.
        if unsafe { libc::fstat(file.as_raw_fd(), &raw mut status) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let local = libc::iovec {
            iov_base: (&raw mut status).cast(),
            iov_len: size_of::<libc::stat>(),
        };
        let remote = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(
                usize::try_from(target).map_err(|_| Errno::FAULT)?,
            ),
            iov_len: local.iov_len,
        };
        let pid = libc::pid_t::try_from(self.0.pid).map_err(io::Error::other)?;
        // SAFETY: the structure outlives the call; the other address is not ours.
        let written =
            unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
        if usize::try_from(written) == Ok(local.iov_len) {
            Ok(())
        } else {
            Err(Errno::FAULT.into())
        }
    }

    /// Reads the text of at most `N` bytes that an argument points to. What it says is the caller's word, and may be another one
    /// when the kernel reads it.
    pub(super) fn text<const N: usize>(&self, argument: usize) -> io::Result<Vec<u8>> {
        let mut bytes = [0; N];
        let address = usize::try_from(self.0.data.args[argument]).map_err(io::Error::other)?;
        // A page at a time: the text may end just before one that is not there.
        let mut filled = 0;
        while filled < N {
            let rest = &mut bytes[filled..];
            let length = rest.len().min(4096 - (address + filled) % 4096);
            let read = read_memory(self.0.pid, address + filled, &mut rest[..length])?;
            let part = &bytes[filled..filled + read];
            if let Some(end) = part.iter().position(|byte| *byte == 0) {
                return Ok(bytes[..filled + end].to_vec());
            }
            if read == 0 {
                break;
            }
            filled += read;
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn read_memory(pid: u32, address: usize, into: &mut [u8]) -> io::Result<usize> {
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: into.len(),
    };
    let mut local = [IoSliceMut::new(into)];
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: an IoSliceMut is an iovec, whose memory is borrowed for the call; the other address is not ours.
    let read = unsafe {
        libc::process_vm_readv(pid, local.as_mut_ptr().cast(), 1, &raw const remote, 1, 0)
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

impl Calls {
    /// Listens to what a filter's installation returned.
    pub(super) fn new(listener: OwnedFd) -> Self {
        let calls = Self(listener);
        // A faster switch to the listener and back, where the kernel has it.
        // SAFETY: the request takes its flags by value.
        unsafe { libc::ioctl(calls.0.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
        calls
    }

    /// Waits for a call, or for the end of the process: then there is none. The end is told by the kernel, or by the
    /// end of `lifeline`, which the process has the other end of.
    pub(super) fn next(&self, lifeline: Option<BorrowedFd<'_>>) -> io::Result<Option<Call>> {
        loop {
            let mut ready = [
                PollFd::new(&self.0, PollFlags::IN),
                PollFd::from_borrowed_fd(lifeline.unwrap_or(self.0.as_fd()), PollFlags::IN),
            ];
            let number = if lifeline.is_some() { 2 } else { 1 };
            rustix::io::retry_on_intr(|| poll(&mut ready[..number], None))?;
            if ready[0].revents().contains(PollFlags::IN) {
                match self.receive() {
                    // The caller was killed in between.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    result => return result.map(Some),
                }
            }
            return Ok(None);
        }
    }

    fn receive(&self) -> io::Result<Call> {
        // SAFETY: the structure consists of integers, and the kernel wants it zeroed.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        self.control(libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call)?;
        Ok(Call(call))
    }

    /// Answers a call.
    pub(super) fn answer(&self, call: &Call, answer: Answer) -> io::Result<()> {
        let (error, flags) = match answer {
            Answer::Continue => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
            Answer::Nothing => (0, 0),
            Answer::Fails(error) => (-error.raw_os_error(), 0),
        };
        let mut response = libc::seccomp_notif_resp {
            id: call.0.id,
            val: 0,
            error,
            flags: u32::try_from(flags).unwrap_or_default(),
        };
        self.control(libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response)?;
        Ok(())
    }

    /// Answers a call with a descriptor for `file`; returns its number in the process.
    pub(super) fn answer_with(&self, call: &Call, file: BorrowedFd<'_>) -> io::Result<u64> {
        let mut addition = libc::seccomp_notif_addfd {
            id: call.0.id,
            flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SEND).unwrap_or_default(),
            srcfd: u32::try_from(file.as_raw_fd()).unwrap_or_default(),
            newfd: 0,
            newfd_flags: 0,
        };
        let number = self.control(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw mut addition)?;
        u64::try_from(number).map_err(io::Error::other)
    }

    /// Makes the descriptor `number` of the process, which makes `call` and waits for its answer, one of `file`.
    pub(super) fn replace(
        &self,
        call: &Call,
        number: RawFd,
        file: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut addition = libc::seccomp_notif_addfd {
            id: call.0.id,
            flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SETFD).unwrap_or_default(),
            srcfd: file.as_raw_fd().unsigned_abs(),
            newfd: number.unsigned_abs(),
            newfd_flags: libc::O_CLOEXEC.unsigned_abs(),
        };
        self.control(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw mut addition)
            .map(drop)
    }

    fn control<T>(&self, request: libc::Ioctl, argument: *mut T) -> io::Result<i32> {
        // SAFETY: each request comes with the structure that its number encodes the size of.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(result)
        }
    }
}
