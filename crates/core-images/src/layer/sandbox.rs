//! The sandbox of a worker: it may only compute, read, write and end.

use container_isolation::calls::{Rules, SeccompAction, allow, any_of, program};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use seccompiler::{BackendError, BpfProgram};

/// Address space: the tree's limit twice over, buffers and a zstd window.
const ADDRESS_SPACE: u64 = 3 << 30;
/// Most bytes of the metadata that a view is.
pub(super) const VIEW_SIZE: u64 = 8 << 30;
/// The image's last block, and what a buffer may write at once behind the budget before that is noticed.
const FILE_OVERHEAD: u64 = 1 << 20;
/// CPU time, in seconds: much more than the largest layer takes, which a hostile one may want for ever.
pub(super) const CPU_SECONDS: u64 = 30 * 60;

/// Why the worker cannot be shut in.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    #[error("a resource limit cannot be set")]
    Limit(#[source] std::io::Error),
    #[error("privileges cannot be given up")]
    Privileges(#[source] std::io::Error),
    #[error("the system call filter cannot be built")]
    Build(#[source] BackendError),
    #[error("the system call filter cannot be set")]
    Filter(#[source] seccompiler::Error),
}

/// System calls that remain whatever their arguments, by who makes them.
const ALLOWED: &[libc::c_long] = &[
    // The streams. Nothing can be opened any more.
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_lseek,
    libc::SYS_close,
    // The allocator.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
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

/// Gives up everything but [`rules`]; a further system call ends the process.
pub(super) fn enter(budget: u64) -> Result<(), SandboxError> {
    let file_size = budget.saturating_add(FILE_OVERHEAD);
    for (resource, limit) in [
        (Resource::As, ADDRESS_SPACE),
        (Resource::Fsize, file_size),
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Core, 0),
        (Resource::Nproc, 0),
        (Resource::Nofile, 0),
    ] {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(resource, limit).map_err(|error| SandboxError::Limit(error.into()))?;
    }
    // If the service is killed, its output has no reader.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .and_then(|()| rustix::thread::set_no_new_privs(true))
        .map_err(|error| SandboxError::Privileges(error.into()))?;
    let program = filter().map_err(SandboxError::Build)?;
    seccompiler::apply_filter(&program).map_err(SandboxError::Filter)
}

/// [`ALLOWED`], and what remains with certain arguments only.
fn rules() -> Result<Rules, BackendError> {
    let mut rules = allow(ALLOWED)?;
    // std looks whether a descriptor is open before it closes it, in debug builds.
    let look = [u64::from(libc::F_GETFD.unsigned_abs())];
    rules.insert(libc::SYS_fcntl, any_of(1, &look)?);
    Ok(rules)
}

fn filter() -> Result<BpfProgram, BackendError> {
    program(rules()?, SeccompAction::KillProcess)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_can_be_built_and_leaves_no_way_to_files_or_processes() {
        assert!(filter().is_ok());
        for call in [
            libc::SYS_openat,
            libc::SYS_socket,
            libc::SYS_clone,
            libc::SYS_execve,
            libc::SYS_ioctl,
            libc::SYS_prctl,
            libc::SYS_kill,
            libc::SYS_sendmsg,
        ] {
            assert!(
                !ALLOWED.contains(&call) && !rules().unwrap().contains_key(&call),
                "{call}"
            );
        }
    }
}
