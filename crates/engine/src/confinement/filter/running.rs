//! Calls that a VMM makes while its machine runs, and may make at any time. `main` is QEMU's main loop, `vCPU` one of the
//! threads that execute the guest, `worker` one of the threads that read and write disks, `RCU` the one that frees
//! memory when nobody uses it any more.

use container_isolation::calls::{self, Rules, any_of, masked};
use seccompiler::{BackendError, SeccompRule};

use super::program::OWN_PROCESS;

/// Calls that are allowed whatever their arguments.
const CALLS: [i64; 55] = [
    // Monitor, console, guest channel: main. Event descriptors: all.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvmsg,
    // To the streams that the VMM was given. All are connected, and it can make no others: an address is refused.
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    // Disks: worker; the saved state: main.
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_lseek,
    libc::SYS_fadvise64,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    // Waiting: main, vCPU, worker, RCU.
    libc::SYS_ppoll,
    libc::SYS_poll,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_membarrier,
    // Where the clock is not one that the vDSO reads.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    // Memory: all.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_msync,
    // Random numbers for the guest: main.
    libc::SYS_getrandom,
    // A thread begins and ends: main and worker make them, the owner counts them.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals to its own threads: main stops a vCPU by one.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    // What it was given, and does not need any more: main. Event descriptors of devices: main, vCPU.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_eventfd2,
];

/// What the kernel may be told about memory: main, vCPU, RCU. Anything else could be about files.
const ADVICE: [i32; 8] = [
    libc::MADV_DONTNEED,
    libc::MADV_DONTFORK,
    libc::MADV_DONTDUMP,
    libc::MADV_HUGEPAGE,
    libc::MADV_NOHUGEPAGE,
    libc::MADV_UNMERGEABLE,
    libc::MADV_WILLNEED,
    libc::MADV_FREE,
];

/// What may be done to descriptors: main as it opens a disk, worker as it locks one. No signals to owners, no leases, no
/// seals.
const FCNTL: [i32; 8] = [
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_DUPFD_CLOEXEC,
    libc::F_OFD_GETLK,
    libc::F_OFD_SETLK,
    libc::F_SETLK,
];

/// What a thread may say of itself: its name, and how exact its timers are.
const PRCTL: [i32; 2] = [libc::PR_SET_NAME, libc::PR_SET_TIMERSLACK];

/// The calls and the conditions under which each is allowed: one of its rules must hold, and there is none where all
/// is allowed.
///
/// A lent memory file must keep its pages: with `asks_for_holes`, a hole is its owner's to make. `requests` are those of
/// `ioctl` that the machine's devices need.
pub(super) fn rules(asks_for_holes: bool, requests: &[u32]) -> Result<Rules, BackendError> {
    let mut rules = calls::allow(&CALLS)?;
    rules.insert(libc::SYS_mmap, mappings()?);
    let values = |value: i32| u64::from(value.unsigned_abs());
    rules.insert(libc::SYS_madvise, any_of(2, &ADVICE.map(values))?);
    rules.insert(libc::SYS_fcntl, any_of(1, &FCNTL.map(values))?);
    rules.insert(libc::SYS_prctl, any_of(0, &PRCTL.map(values))?);
    if !requests.is_empty() {
        let requests: Vec<u64> = requests.iter().map(|request| (*request).into()).collect();
        rules.insert(libc::SYS_ioctl, any_of(1, &requests)?);
    }
    // A thread's first memory: the C library counts processors. Its own thread's, no other one's.
    rules.insert(libc::SYS_sched_getaffinity, any_of(0, &[0])?);
    // QEMU signals threads of its own process only.
    rules.insert(libc::SYS_tgkill, any_of(0, &[OWN_PROCESS.into()])?);
    // Disks that the guest writes zeroes to, or frees: worker.
    if asks_for_holes {
        let no_hole = masked(1, libc::FALLOC_FL_PUNCH_HOLE, 0)?;
        rules.insert(libc::SYS_fallocate, vec![SeccompRule::new(vec![no_hole])?]);
    } else {
        rules.insert(libc::SYS_fallocate, Vec::new());
    }
    Ok(rules)
}

/// Memory that is not executable, and is a file's or counts as the process's own (`RLIMIT_DATA`).
fn mappings() -> Result<Vec<SeccompRule>, BackendError> {
    let (shared, anonymous) = (libc::MAP_SHARED, libc::MAP_ANONYMOUS);
    [0, shared, anonymous]
        .into_iter()
        .map(|kind| {
            let kind = masked(3, shared | anonymous, kind)?;
            SeccompRule::new(vec![masked(2, libc::PROT_EXEC, 0)?, kind])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_reaches_outside_is_listed() {
        let rules = rules(false, &[]).unwrap();
        for call in [
            libc::SYS_openat,
            libc::SYS_open,
            libc::SYS_openat2,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_sendto,
            libc::SYS_execve,
            libc::SYS_clone,
            libc::SYS_fchmod,
            libc::SYS_fchown,
            libc::SYS_fsetxattr,
            libc::SYS_ftruncate,
            libc::SYS_memfd_create,
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_shmget,
            libc::SYS_personality,
            // Without devices that have requests.
            libc::SYS_ioctl,
        ] {
            assert!(!rules.contains_key(&call), "{call}");
        }
    }

    #[test]
    fn what_depends_on_arguments_has_conditions() {
        let rules = rules(true, &[0xae80]).unwrap();
        for call in [
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_madvise,
            libc::SYS_fcntl,
            libc::SYS_prctl,
            libc::SYS_ioctl,
            libc::SYS_tgkill,
            libc::SYS_fallocate,
        ] {
            assert!(!rules[&call].is_empty(), "{call}");
        }
    }
}
