//! The VMM's system calls on which its owner decides (`SECCOMP_RET_USER_NOTIF`,
//! `seccomp_unotify`(2)): the one program that the process becomes, and what [`crate::template::loan`] is
//! about. Where nobody listens any more, the kernel answers them with `ENOSYS`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};

/// The mode with which QEMU gives memory and disk space back.
const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;

/// System calls as the filter sees them.
const EXECVE: u32 = 59;
const EXECVEAT: u32 = 322;
const OPENAT: u32 = 257;
const FALLOCATE: u32 = 285;
const _: () = assert!(EXECVE as i64 == libc::SYS_execve && EXECVEAT as i64 == libc::SYS_execveat);
const _: () = assert!(OPENAT as i64 == libc::SYS_openat && FALLOCATE as i64 == libc::SYS_fallocate);

/// Offsets in `struct seccomp_data` (linux/seccomp.h) of the fields that the filter looks at.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const SECOND_ARGUMENT: u32 = 24;
const THIRD_ARGUMENT: u32 = 32;
/// `AUDIT_ARCH_X86_64` of linux/audit.h.
const X86_64: u32 = 0xc000_003e;

/// Installs the filter in the calling process, which must have no new privileges, and returns the
/// descriptor of [`Calls`]. Without `memory` it lets through what only a loan is about. Allocates
/// nothing.
pub(crate) fn install_filter(memory: bool) -> io::Result<OwnedFd> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let op = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        op(LOAD, ARCHITECTURE, 0, 0),
        op(JUMP_EQUAL, X86_64, 0, 12),
        op(LOAD, NUMBER, 0, 0),
        op(JUMP_EQUAL, EXECVE, 9, 0),
        op(JUMP_EQUAL, EXECVEAT, 8, 0),
        op(JUMP, if memory { 0 } else { 8 }, 0, 0),
        op(JUMP_EQUAL, OPENAT, 0, 3),
        op(LOAD, THIRD_ARGUMENT, 0, 0),
        op(AND, libc::O_ACCMODE.unsigned_abs(), 0, 0),
        op(JUMP_EQUAL, libc::O_RDWR.unsigned_abs(), 3, 4),
        op(JUMP_EQUAL, FALLOCATE, 0, 3),
        op(LOAD, SECOND_ARGUMENT, 0, 0),
        op(JUMP_EQUAL, PUNCH.unsigned_abs(), 0, 1),
        op(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
        op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: 15,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program points to as many instructions as it says, all of them initialised.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let listener = RawFd::try_from(listener).unwrap_or(-1);
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// The listener for one process's system calls: readable when one waits.
#[derive(Debug)]
pub(crate) struct Calls(OwnedFd);

/// A call that waits for its answer.
#[derive(Debug)]
pub(crate) struct Call(libc::seccomp_notif);

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// The kernel carries it out.
    Continue,
    /// It returns 0 without having done anything.
    Nothing,
    /// It fails, as if the kernel had no such call.
    Absent,
}

impl Call {
    /// Number of the system call.
    pub(crate) fn number(&self) -> libc::c_long {
        self.0.data.nr.into()
    }

    /// Its arguments.
    pub(crate) fn arguments(&self) -> &[u64; 6] {
        &self.0.data.args
    }

    /// The calling thread.
    pub(crate) fn thread(&self) -> u32 {
        self.0.pid
    }
}

impl Calls {
    /// Listens to what [`install_filter`] returned.
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self(listener)
    }

    /// Waits for the process to ask for its program, and lets it have that. Returns, too, when the
    /// process has ended, which closes the other end of `lifeline`.
    pub(crate) fn allow_program(&self, lifeline: &OwnedFd) -> io::Result<()> {
        let mut ready = [
            PollFd::new(&self.0, PollFlags::IN),
            PollFd::new(lifeline, PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| poll(&mut ready, None))?;
        if ready[0].revents().contains(PollFlags::IN) {
            let call = self.receive()?;
            self.answer(&call, Answer::Continue)?;
        }
        Ok(())
    }

    /// Receives the next call; waits for it.
    pub(crate) fn receive(&self) -> io::Result<Call> {
        // SAFETY: the structure consists of integers, and the kernel wants it zeroed.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        self.control(libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call)?;
        Ok(Call(call))
    }

    /// Answers a call.
    pub(crate) fn answer(&self, call: &Call, answer: Answer) -> io::Result<()> {
        let (error, flags) = match answer {
            Answer::Continue => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
            Answer::Nothing => (0, 0),
            Answer::Absent => (-libc::ENOSYS, 0),
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
    pub(crate) fn answer_with(&self, call: &Call, file: BorrowedFd<'_>) -> io::Result<u64> {
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

impl AsFd for Calls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Calls {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
