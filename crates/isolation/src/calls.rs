//! The system calls that a process leaves itself (`seccomp(2)`): lists of what remains, and rules for arguments.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    TargetArch,
};
pub use seccompiler::{SeccompAction, SeccompRule};

/// Calls that remain: each with its rules, of which one must hold; without any, whatever its arguments.
pub type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What every program on tokio calls that has all its descriptors, or is sent them.
pub const SERVING: &[libc::c_long] = &[
    // Messages, and the log.
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

/// Rules that let `calls` through, and calls for memory that does not become code.
///
/// # Errors
/// None that is known: the rules are the same for every process.
pub fn allow<'a>(calls: impl IntoIterator<Item = &'a libc::c_long>) -> Result<Rules, BackendError> {
    let mut rules: Rules = calls.into_iter().map(|call| (*call, Vec::new())).collect();
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let no_code = masked(2, libc::PROT_EXEC, 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![no_code])?]);
    }
    Ok(rules)
}

/// The bits of `mask` in an argument are those of `value`. The kernel looks at the lower half of arguments that are flags.
///
/// # Errors
/// When there is no such argument.
pub fn masked(argument: u8, mask: i32, value: i32) -> Result<SeccompCondition, BackendError> {
    let operator = SeccompCmpOp::MaskedEq(mask.unsigned_abs().into());
    let value = value.unsigned_abs().into();
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

/// The whole of an argument is `value`.
///
/// # Errors
/// When there is no such argument.
pub fn equal(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
}

/// An argument, such as a command of which the kernel looks at the lower half, is `value`.
///
/// # Errors
/// When there is no such argument.
pub fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// One rule for each of `values` that the argument may have: see [`is`].
///
/// # Errors
/// When there is no such argument.
pub fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |value: &u64| SeccompRule::new(vec![is(argument, *value)?]);
    values.iter().map(rule).collect()
}

/// The filter that lets `rules` through and has `refused` for the rest.
///
/// # Errors
/// When it is too long for the kernel, or there is none for this processor.
pub fn program(rules: Rules, refused: SeccompAction) -> Result<BpfProgram, BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture)?.try_into()
}
