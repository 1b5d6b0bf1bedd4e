//! The list as the program that the kernel runs on each call (`seccomp`(2)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use libc::sock_filter;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use super::running;

/// Stands for the process's own id, which is not known before the process is there. No process has it: ids end at 2^22
/// (`PID_MAX_LIMIT` of linux/threads.h).
pub(super) const OWN_PROCESS: u32 = 0x7fff_fff1;

/// Stands for `SECCOMP_RET_USER_NOTIF`, which the library has no word for, in what it makes.
const ASK: SeccompAction = SeccompAction::Trace(0);
const ASKED_FOR: u32 = libc::SECCOMP_RET_TRACE;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_FROM: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Most instructions of ours. The kernel takes 4096 (`BPF_MAXINSNS` of `linux/bpf_common.h`).
const LIMIT: usize = 1024;

/// Set in the numbers of the x32 ABI (`__X32_SYSCALL_BIT` of asm/unistd.h): other names for the same calls.
const X32: u32 = 0x4000_0000;

/// A filter, and where in it the process's own id belongs.
#[derive(Debug)]
pub(crate) struct Filter {
    program: Vec<sock_filter>,
}

impl Filter {
    /// Makes the filter; see [`running::rules`].
    pub(crate) fn new(asks_for_holes: bool, requests: &[u32]) -> io::Result<Self> {
        let build = || {
            let rules = running::rules(asks_for_holes, requests)?;
            let filter = SeccompFilter::new(rules, ASK, SeccompAction::Allow, TargetArch::x86_64)?;
            BpfProgram::try_from(filter)
        };
        let mut program = no_x32();
        for instruction in build().map_err(io::Error::other)? {
            let seccompiler::sock_filter { code, jt, jf, k } = instruction;
            program.push(sock_filter { code, jt, jf, k });
        }
        for instruction in &mut program {
            if instruction.code == RETURN && instruction.k == ASKED_FOR {
                instruction.k = libc::SECCOMP_RET_USER_NOTIF;
            }
        }
        if program.len() > LIMIT {
            return Err(io::Error::other("the filter is too long"));
        }
        Ok(Self { program })
    }

    /// Filters the calling process, which must have no new privileges, and returns the descriptor with which its owner
    /// answers. Allocates nothing.
    pub(crate) fn install(&self) -> io::Result<OwnedFd> {
        let own = rustix::process::getpid().as_raw_pid().unsigned_abs();
        let mut program = [sock_filter {
            code: 0,
            jt: 0,
            jf: 0,
            k: 0,
        }; LIMIT];
        let program = &mut program[..self.program.len()];
        program.copy_from_slice(&self.program);
        for instruction in &mut *program {
            if instruction.code == JUMP_EQUAL && instruction.k == OWN_PROCESS {
                instruction.k = own;
            }
        }
        install(program)
    }
}

fn install(program: &mut [sock_filter]) -> io::Result<OwnedFd> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program points to as many instructions as it says, all of them initialised, in the kernel's layout.
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

/// Instructions before a filter, which compares whole numbers: it would not know the calls by their other names.
fn no_x32() -> Vec<sock_filter> {
    const NUMBER: u32 = 0; // offset in `struct seccomp_data` (linux/seccomp.h)
    let op = |code, k, jf| sock_filter { code, jt: 0, jf, k };
    vec![
        op(LOAD, NUMBER, 0),
        op(JUMP_FROM, X32, 1),
        op(
            RETURN,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
            0,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confinement::filter::kvm;

    #[test]
    fn the_program_asks_for_the_rest_and_fits() {
        // With those of a NIC.
        let most: Vec<_> = kvm::REQUESTS.into_iter().chain(1..10).collect();
        for (holes, requests) in [(true, &[][..]), (false, &most)] {
            let filter = Filter::new(holes, requests).unwrap();
            let returns = |value| {
                let all = filter.program.iter();
                all.filter(|op| op.code == RETURN && op.k == value).count()
            };
            assert!(returns(libc::SECCOMP_RET_USER_NOTIF) > 0);
            assert_eq!(returns(ASKED_FOR), 0);
            let own = filter.program.iter().filter(|op| op.k == OWN_PROCESS);
            assert_eq!(own.count(), 1);
        }
    }
}
