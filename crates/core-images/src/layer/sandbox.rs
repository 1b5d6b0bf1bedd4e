//! What the worker may still do once it is shut in: compute, read, write, end.

use std::collections::BTreeMap;

use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Address space: the tree's limit twice over, buffers and a zstd window.
const ADDRESS_SPACE: u64 = 2 << 30;
/// The image is larger than its files: each is padded to a block, and metadata follows.
const FILE_OVERHEAD: u64 = 8 << 30;

/// Why the worker can't be shut in.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    #[error("a resource limit can't be set")]
    Limit(#[source] std::io::Error),
    #[error("privileges can't be given up")]
    Privileges(#[source] std::io::Error),
    #[error("the system call filter can't be built")]
    Build(#[source] seccompiler::BackendError),
    #[error("the system call filter can't be set")]
    Filter(#[source] seccompiler::Error),
}

/// System calls that remain, by who makes them.
const ALLOWED: &[libc::c_long] = &[
    // The streams. Nothing can be opened any more.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fcntl,
    // The allocator.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    // std: hash maps' keys, locks, the end.
    libc::SYS_getrandom,
    libc::SYS_futex,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Gives up everything but [`ALLOWED`]; a further system call ends the process.
pub(super) fn enter(budget: u64) -> Result<(), SandboxError> {
    let file_size = budget.saturating_add(FILE_OVERHEAD);
    for (resource, limit) in [
        (Resource::As, ADDRESS_SPACE),
        (Resource::Fsize, file_size),
        (Resource::Core, 0),
        (Resource::Nproc, 0),
    ] {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(resource, limit).map_err(|error| SandboxError::Limit(error.into()))?;
    }
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| SandboxError::Privileges(error.into()))?;
    let program = filter().map_err(SandboxError::Build)?;
    seccompiler::apply_filter(&program).map_err(SandboxError::Filter)
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        architecture,
    )?
    .try_into()
}
