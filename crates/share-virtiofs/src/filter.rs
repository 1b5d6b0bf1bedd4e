//! The system calls that the process may make: a list for its start, and a shorter one when it serves.
//!
//! The lists are virtiofsd's (its `src/seccomp.rs`), without what it needs for files by handle, a system log and further threads.

use container_isolation::calls::{SeccompAction, allow, program};
use seccompiler::BackendError;

/// What a file server calls while it serves.
const SERVICE: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fallocate,
    // Which directories the host is to tell of changes in.
    libc::SYS_fanotify_mark,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_flock,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getxattr,
    libc::SYS_linkat,
    libc::SYS_listxattr,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_preadv,
    libc::SYS_pread64,
    libc::SYS_preadv2,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_readlinkat,
    libc::SYS_recvmsg,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_removexattr,
    // What waits with a time limit goes on so, once it was stopped: by SIGSTOP, a debugger, or the host going to sleep.
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_setgroups,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_set_robust_list,
    libc::SYS_setxattr,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_syncfs,
    libc::SYS_tgkill,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
    // As the C library spells some on this architecture.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_create,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getdents,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// What its start needs beside that: threads with a working directory of their own, the one peer, and the second filter.
const START: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_fanotify_init,
    libc::SYS_unshare,
    libc::SYS_seccomp,
];

/// What becomes of who makes another call.
const END: SeccompAction = SeccompAction::KillProcess;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It cannot be compiled.
    #[error("make a filter of system calls")]
    Make(#[from] BackendError),
    /// The kernel does not take it.
    #[error("set a filter of system calls")]
    Set(#[from] seccompiler::Error),
}

/// Ends the process at the first call that a file server has no use for. For the calling thread and those that it makes.
///
/// # Errors
/// When the kernel does not take the filter.
pub fn for_start() -> Result<(), FilterError> {
    let rules = allow(SERVICE.iter().chain(START))?;
    Ok(seccompiler::apply_filter(&program(rules, END)?)?)
}

/// As [`for_start`], for all threads, without what only the start needs.
///
/// # Errors
/// When the kernel does not take the filter for every thread.
pub fn for_service() -> Result<(), FilterError> {
    let program = program(allow(SERVICE)?, END)?;
    Ok(seccompiler::apply_filter_all_threads(&program)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_start_needs_is_over_when_it_serves() {
        assert!(START.iter().all(|call| !SERVICE.contains(call)));
        assert!(!program(allow(SERVICE).unwrap(), END).unwrap().is_empty());
    }
}
