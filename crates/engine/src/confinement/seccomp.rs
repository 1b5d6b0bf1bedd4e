//! System calls that no VMM of ours has a use for, denied from before its first instruction.
//!
//! QEMU adds a filter of its own when it has set itself up (`-sandbox`), which also denies new
//! processes. This one takes kernel interfaces away that a new process can't be made without.

use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

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

/// Large parts of the kernel with a history of holes.
const KERNEL: [i64; 13] = [
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

/// A filter that answers the calls above with `EPERM`, and allows the rest.
pub(super) fn filter() -> io::Result<BpfProgram> {
    let denied = TALK.into_iter().chain(INSPECT).chain(REACH).chain(KERNEL);
    let filter = SeccompFilter::new(
        // No conditions: the call is denied whatever its arguments.
        denied.map(|number| (number, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        TargetArch::x86_64,
    );
    filter
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

/// Filters the calling process, which must have no new privileges. Allocates nothing.
pub(super) fn apply(filter: &BpfProgram) -> io::Result<()> {
    seccompiler::apply_filter(filter).map_err(|error| match error {
        seccompiler::Error::Prctl(source) | seccompiler::Error::Seccomp(source) => source,
        _ => io::ErrorKind::InvalidInput.into(),
    })
}
