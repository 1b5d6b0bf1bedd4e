//! System calls that no VMM of ours has a use for, denied from before its first instruction.
//!
//! To the VMM the kernel seems not to have them (`ENOSYS`): what a program has another way for, it
//! then does the other way. The one program that the process becomes is a matter of
//! [`super::calls`].

use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// Talking to others: everything that a VMM may talk to, it is given open.
const TALK: [i64; 4] = [
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
];

/// Looking into others.
const INSPECT: [i64; 5] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
];

/// Changing what is reachable.
const REACH: [i64; 14] = [
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
];

/// Large parts of the kernel with a history of holes. The rings are such a part, and make system
/// calls that no filter sees.
const KERNEL: [i64; 16] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_modify_ldt,
    libc::SYS_vmsplice,
];

/// The whole host's.
const HOST: [i64; 6] = [
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_sysfs,
];

/// Changing files by their paths, which Landlock leaves open (the first version wholly).
const ATTRIBUTES: [i64; 14] = [
    libc::SYS_truncate,
    libc::SYS_chmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_utimensat,
];
/// Of `asm/unistd_64.h`; newer than the C library's list.
const FCHMODAT2: i64 = 452;

/// Signals to others. A thread's own process signals it with `tgkill`.
const SIGNALS: [i64; 6] = [
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
];

/// Being somebody else.
const IDENTITY: [i64; 9] = [
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
];

/// New processes. The arguments of `clone3` are out of a filter's sight: a C library that does not
/// find it makes its threads with `clone`.
const PROCESSES: [i64; 3] = [libc::SYS_fork, libc::SYS_vfork, libc::SYS_clone3];

/// Set in the numbers of the x32 ABI (`__X32_SYSCALL_BIT` of asm/unistd.h): other names for the same calls, which no
/// program of ours uses.
const X32: u32 = 0x4000_0000;

/// A filter that denies the calls above, `clone` of anything but a thread, outliving the owner and limits of others, and
/// allows the rest.
pub(super) fn filter() -> io::Result<BpfProgram> {
    let denied = [
        &TALK[..],
        &INSPECT,
        &REACH,
        &KERNEL,
        &HOST,
        &ATTRIBUTES,
        &SIGNALS,
        &IDENTITY,
        &PROCESSES,
    ];
    // No conditions: the call is denied whatever its arguments.
    let mut rules: std::collections::BTreeMap<_, _> = denied
        .concat()
        .into_iter()
        .map(|number| (number, Vec::new()))
        .collect();
    let build = || {
        for (number, condition) in [
            (
                libc::SYS_clone,
                argument(
                    SeccompCmpOp::MaskedEq(libc::CLONE_THREAD.unsigned_abs().into()),
                    0,
                )?,
            ),
            (
                libc::SYS_prctl,
                argument(SeccompCmpOp::Eq, libc::PR_SET_PDEATHSIG.unsigned_abs())?,
            ),
            (libc::SYS_prlimit64, argument(SeccompCmpOp::Ne, 0)?),
        ] {
            rules.insert(number, vec![SeccompRule::new(vec![condition])?]);
        }
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
            TargetArch::x86_64,
        )?;
        BpfProgram::try_from(filter)
    };
    let mut program = no_x32();
    program.extend(build().map_err(io::Error::other)?);
    Ok(program)
}

/// A condition of a call's first argument.
fn argument(
    operator: SeccompCmpOp,
    value: u32,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value.into())
}

/// Instructions before a filter, which compares whole numbers: it would not know the calls by their other names.
fn no_x32() -> BpfProgram {
    const NUMBER: u32 = 0; // offset in `struct seccomp_data`
    let op = |code, k, jf| sock_filter { code, jt: 0, jf, k };
    vec![
        op(0x20, NUMBER, 0), // BPF_LD | BPF_W | BPF_ABS
        op(0x35, X32, 1),    // BPF_JMP | BPF_JGE | BPF_K
        op(
            0x06, // BPF_RET | BPF_K
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
            0,
        ),
    ]
}

/// Filters the calling process, which must have no new privileges. Allocates nothing.
pub(super) fn apply(filter: &BpfProgram) -> io::Result<()> {
    seccompiler::apply_filter(filter).map_err(|error| match error {
        seccompiler::Error::Prctl(source) | seccompiler::Error::Seccomp(source) => source,
        _ => io::ErrorKind::InvalidInput.into(),
    })
}
