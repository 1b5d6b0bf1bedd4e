//! The system calls that are left. To the helper the kernel seems not to have the others (`ENOSYS`): what a library tries
//! for speed, it then does the other way.

use container_isolation::calls::{
    SERVING, SeccompAction, SeccompRule, allow, any_of, equal, masked, program,
};
use seccompiler::{BackendError, BpfProgram};

use super::ConfinementError;

/// Calls that remain beside [`SERVING`], whatever their arguments, by who makes them.
const ALLOWED: &[libc::c_long] = &[
    // Streams, logs and records. What can be opened is Landlock's business.
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    // What is free around the disks.
    libc::SYS_fstatfs,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    // As the C library spells those on this architecture.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    // The helper's sockets, the guest channel, the VMM's control connection. None is made any more.
    libc::SYS_sendmsg,
    // A client's input has a pipe that wakes its thread.
    libc::SYS_pipe2,
    // tokio.
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_nanosleep,
    // The host's clock was set, or the host suspended.
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    // Who answers the VMM's system calls looks into it. Landlock keeps other threads from that.
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_getdents64,
    // The VMM's end. A descriptor of a process cannot be opened any more: there is only the VMM's.
    libc::SYS_pidfd_send_signal,
    libc::SYS_waitid,
    // Threads, and who it is.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// What may be asked of a device: whether there is something to read, not to wait, whether it is a terminal and how large.
/// Not to type on a client's terminal (`TIOCSTI`). Whether what was handed over is a tap.
const REQUESTS: [u64; 5] = [
    libc::FIONREAD,
    libc::FIONBIO,
    libc::TCGETS,
    libc::TIOCGWINSZ,
    libc::TUNGETIFF,
];

/// The engine answers its VMM's system calls (`seccomp_unotify(2)`).
const NOTIFICATIONS: [u64; 4] = [
    libc::SECCOMP_IOCTL_NOTIF_RECV,
    libc::SECCOMP_IOCTL_NOTIF_SEND,
    libc::SECCOMP_IOCTL_NOTIF_ADDFD,
    libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
];

/// `PR_SET_VMA` of linux/prctl.h: the C library names its memory.
const PR_SET_VMA: u32 = 0x5356_4d41;

/// Leaves all threads of the process no other calls.
pub(super) fn filter() -> Result<(), ConfinementError> {
    let program = build().map_err(ConfinementError::BuildFilter)?;
    seccompiler::apply_filter_all_threads(&program).map_err(ConfinementError::Filter)
}

fn build() -> Result<BpfProgram, BackendError> {
    let mut rules = allow(SERVING.iter().chain(ALLOWED))?;
    for (call, conditions) in [
        (
            libc::SYS_clone,
            vec![masked(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?],
        ),
        // Without an address: the peers are those that there are.
        (libc::SYS_sendto, vec![equal(4, 0)?]),
        // Its own limits, to be read.
        (libc::SYS_prlimit64, vec![equal(0, 0)?, equal(2, 0)?]),
        // To itself: a panic ends in one.
        (libc::SYS_tgkill, vec![equal(0, std::process::id().into())?]),
    ] {
        rules.insert(call, vec![SeccompRule::new(conditions)?]);
    }
    let options = [libc::PR_SET_NAME.unsigned_abs(), PR_SET_VMA].map(u64::from);
    rules.insert(libc::SYS_prctl, any_of(0, &options)?);
    let mut requests = REQUESTS.to_vec();
    requests.extend(NOTIFICATIONS);
    rules.insert(libc::SYS_ioctl, any_of(1, &requests)?);
    program(rules, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()))
}
