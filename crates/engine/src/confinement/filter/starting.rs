//! Calls that a VMM makes while it starts, before it has executed anything of a guest's. Its owner lets them through, one
//! by one.
//!
//! The dynamic loader (`ld.so`), libraries as they initialise themselves, and QEMU as it makes the machine: all on the
//! one thread that there is.

/// Whether the owner lets `call` through while the VMM starts.
pub(crate) fn allows(call: i64) -> bool {
    CALLS.contains(&call)
}

const CALLS: [i64; 40] = [
    // ld.so, the C library.
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_prlimit64,
    libc::SYS_set_tid_address,
    libc::SYS_readlink,
    libc::SYS_newfstatat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_statx,
    libc::SYS_uname,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getcwd,
    // The C library looks for the number of processors and the size of memory.
    libc::SYS_sched_getaffinity,
    libc::SYS_sysinfo,
    // libnuma, libselinux and libgnutls look whether their files are there.
    libc::SYS_getdents64,
    libc::SYS_statfs,
    libc::SYS_get_mempolicy,
    libc::SYS_faccessat,
    libc::SYS_readlinkat,
    // QEMU binds guest memory to no node, and says so.
    libc::SYS_set_mempolicy,
    libc::SYS_mbind,
    // ld.so maps code; TCG makes room for its own.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    // QEMU's main loop takes signals as a file; it looks at the sockets that it was given.
    libc::SYS_signalfd4,
    libc::SYS_setsockopt,
    libc::SYS_epoll_create1,
    libc::SYS_pipe2,
    // QEMU tries what kinds of memory files there are.
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    // QEMU names its process, and asks for machine checks of its memory.
    libc::SYS_prctl,
    // QEMU puts itself into its directory.
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_umask,
    libc::SYS_getppid,
    libc::SYS_capget,
    // libaio and timers, made by some builds and never used.
    libc::SYS_timerfd_create,
    libc::SYS_sched_setaffinity,
];
