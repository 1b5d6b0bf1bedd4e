//! The system calls that are left. The kernel seems not to have the others (`ENOSYS`): what a library tries for speed, it then
//! does the other way.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::ConfinementError;

/// Calls that remain, whatever their arguments.
const ALLOWED: &[libc::c_long] = &[
    // Questions and answers, on sockets that are there or come from the network's process; the log.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_shutdown,
    libc::SYS_fstat,
    libc::SYS_close,
    // tokio.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    // The allocator.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Locks, signals, random numbers, the end.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What may be done to descriptors, whatever the argument. No signals to owners, no leases.
const FCNTL: [i32; 4] = [
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_DUPFD_CLOEXEC,
];

/// Leaves the calling thread no other calls.
pub(super) fn filter() -> Result<(), ConfinementError> {
    let program = build().map_err(ConfinementError::BuildFilter)?;
    seccompiler::apply_filter(&program).map_err(ConfinementError::Filter)
}

fn build() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // No memory can be executed that is not executed already.
    let not_executable = without(libc::PROT_EXEC);
    // Such a message connects a stream first (MSG_FASTOPEN of send(2)).
    let not_connecting = without(libc::MSG_FASTOPEN);
    for (call, argument, operator, value) in [
        (libc::SYS_mmap, 2, not_executable.clone(), 0),
        (libc::SYS_mprotect, 2, not_executable, 0),
        (libc::SYS_sendto, 3, not_connecting.clone(), 0),
        (libc::SYS_sendmsg, 2, not_connecting, 0),
        // To itself: a panic ends in one.
        (
            libc::SYS_tgkill,
            0,
            SeccompCmpOp::Eq,
            u64::from(std::process::id()),
        ),
        // Standard error, to a terminal or not.
        (libc::SYS_ioctl, 1, SeccompCmpOp::Eq, libc::TCGETS),
    ] {
        let condition = condition(argument, operator, value)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    rules.insert(libc::SYS_fcntl, descriptors()?);
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        SeccompAction::Allow,
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?
    .try_into()
}

/// The rules of `fcntl`: one of them must hold.
fn descriptors() -> Result<Vec<SeccompRule>, BackendError> {
    let command = |command: i32| condition(1, SeccompCmpOp::Eq, u64::from(command.unsigned_abs()));
    let mut rules = Vec::new();
    for allowed in FCNTL {
        rules.push(SeccompRule::new(vec![command(allowed)?])?);
    }
    // No signal when there is something to read.
    let no_signal = condition(2, without(libc::O_ASYNC), 0)?;
    rules.push(SeccompRule::new(vec![command(libc::F_SETFL)?, no_signal])?);
    Ok(rules)
}

/// None of the bits of `flag`.
fn without(flag: i32) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(flag.unsigned_abs().into())
}

/// The kernel looks at the lower half of such arguments.
fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}
