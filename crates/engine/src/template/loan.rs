//! Lends a template's memory to a VMM that must not be able to change it.
//!
//! The VMM maps the memory privately: its writes stay its own, and pages that it only reads are
//! shared by all machines of the template. Two of its habits stand in the way. It opens a memory
//! file for writing even when it maps it privately; and it gives memory back by punching a hole
//! into the file, which would be a hole in the template. So a seccomp filter hands these two
//! system calls to the engine (`SECCOMP_RET_USER_NOTIF`, `seccomp_unotify`(2)), which answers the
//! first with a descriptor that can only be read, and the second with a success that changes
//! nothing: what follows, `madvise(MADV_DONTNEED)`, drops the private copy, which is all that the
//! machine ever had. No trust is placed in the VMM: without the descriptor's consent no trick of
//! its own can write to the template.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The path under which the VMM asks for the memory. There is no such file.
pub(crate) const PATH: &str = "/template-memory";

/// The mode with which QEMU gives memory and disk space back.
const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;

/// System calls as the filter sees them.
const OPENAT: u32 = 257;
const FALLOCATE: u32 = 285;
const _: () = assert!(OPENAT as i64 == libc::SYS_openat && FALLOCATE as i64 == libc::SYS_fallocate);

/// Offsets in `struct seccomp_data` (linux/seccomp.h) of the fields that the filter looks at.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const SECOND_ARGUMENT: u32 = 24;
const THIRD_ARGUMENT: u32 = 32;
/// `AUDIT_ARCH_X86_64` of linux/audit.h.
const X86_64: u32 = 0xc000_003e;

/// Installs the filter in the calling process, which must have no new privileges, and returns the
/// descriptor from which its system calls are answered. Allocates nothing.
pub(crate) fn install_filter() -> io::Result<OwnedFd> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let op = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        op(LOAD, ARCHITECTURE, 0, 0),
        op(JUMP_EQUAL, X86_64, 0, 9),
        op(LOAD, NUMBER, 0, 0),
        op(JUMP_EQUAL, OPENAT, 0, 3),
        op(LOAD, THIRD_ARGUMENT, 0, 0),
        op(AND, libc::O_ACCMODE as u32, 0, 0),
        op(JUMP_EQUAL, libc::O_RDWR as u32, 3, 4),
        op(JUMP_EQUAL, FALLOCATE, 0, 3),
        op(LOAD, SECOND_ARGUMENT, 0, 0),
        op(JUMP_EQUAL, PUNCH as u32, 0, 1),
        op(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
        op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: 12,
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

/// A filtered process's system calls.
#[derive(Debug)]
pub(crate) struct Loan {
    listener: AsyncFd<OwnedFd>,
    memory: File,
    /// The descriptor under which the process has the memory.
    lent: Option<u64>,
}

impl Loan {
    /// Answers the system calls from `listener`; `memory` is open for reading only.
    pub(crate) fn new(listener: OwnedFd, memory: File) -> io::Result<Self> {
        // SAFETY: an OwnedFd names the same open descriptor for as long as the AsyncFd owns it.
        let listener = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?;
        Ok(Self {
            listener,
            memory,
            lent: None,
        })
    }

    /// Answers until the process ends. Must run as long as it does: the process waits for answers.
    pub(crate) async fn serve(mut self) {
        loop {
            let Ok(mut ready) = self.listener.readable().await else {
                return;
            };
            let mut state = [PollFd::new(self.listener.get_ref(), PollFlags::IN)];
            let polled = poll(&mut state, Some(&Timespec::default()));
            let events = state[0].revents();
            if polled.is_err() || events.intersects(PollFlags::HUP | PollFlags::ERR) {
                return;
            }
            if !events.contains(PollFlags::IN) {
                ready.clear_ready();
                continue;
            }
            drop(ready);
            if let Err(error) = self.answer() {
                // The caller was killed in between, or the next call tells what is wrong.
                tracing::debug!(%error, "a VMM's system call was not answered");
            }
        }
    }

    fn answer(&mut self) -> io::Result<()> {
        // SAFETY: the structure consists of integers, and the kernel wants it zeroed.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        self.control(libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call)?;
        let number = libc::c_long::from(call.data.nr);
        if number == libc::SYS_openat && self.lent.is_none() && asks_for_memory(&call) {
            return self.lend(call.id);
        }
        let lent = self.lent.is_some_and(|lent| lent == call.data.args[0]);
        let flags = if number == libc::SYS_fallocate && lent {
            0
        } else {
            libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE
        };
        let flags = u32::try_from(flags).unwrap_or_default();
        let mut response = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: 0,
            flags,
        };
        self.control(libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response)?;
        Ok(())
    }

    /// Answers an open with a descriptor for the memory.
    fn lend(&mut self, id: u64) -> io::Result<()> {
        let mut addition = libc::seccomp_notif_addfd {
            id,
            flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SEND).unwrap_or_default(),
            srcfd: u32::try_from(self.memory.as_raw_fd()).unwrap_or_default(),
            newfd: 0,
            newfd_flags: 0,
        };
        let number = self.control(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw mut addition)?;
        self.lent = u64::try_from(number).ok();
        Ok(())
    }

    fn control<T>(&self, request: libc::Ioctl, argument: *mut T) -> io::Result<i32> {
        // SAFETY: each request comes with the structure that its number encodes the size of.
        let result = unsafe { libc::ioctl(self.listener.get_ref().as_raw_fd(), request, argument) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(result)
        }
    }
}

/// Whether an open is for [`PATH`].
fn asks_for_memory(call: &libc::seccomp_notif) -> bool {
    let mut path = [0; PATH.len() + 1];
    let memory = File::open(format!("/proc/{}/mem", call.pid));
    memory
        .and_then(|memory| memory.read_exact_at(&mut path, call.data.args[1]))
        .is_ok()
        && path[..PATH.len()] == *PATH.as_bytes()
        && path[PATH.len()] == 0
}
