//! What is tried, and what must come of it.

use crate::villain::Outcome;

/// What an act may come to.
#[derive(Debug, Clone, Copy)]
pub enum Expected {
    /// The VMM is ended for this call.
    Ends(&'static str),
    /// The call fails with one of these errors.
    Fails(&'static [i32]),
    /// The call returns this.
    Returns(i64),
    /// The call returns a value in this range.
    Within(i64, i64),
}

use Expected::{Ends, Fails, Returns, Within};

impl Expected {
    pub fn allows(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Ends(call), Outcome::Ended(ended)) => call == ended,
            (Fails(errors), Outcome::Returned(value)) => {
                errors.iter().any(|error| i64::from(-error) == *value)
            }
            (Returns(expected), Outcome::Returned(value)) => expected == *value,
            (Within(low, high), Outcome::Returned(value)) => (low..=high).contains(value),
            _ => false,
        }
    }
}

const NOENT: Expected = Fails(&[libc::ENOENT]);
const NOSYS: Expected = Fails(&[libc::ENOSYS]);
const BADF: Expected = Fails(&[libc::EBADF]);

/// Once the machine runs. The third word is what the act is about: [`crate::modes`] knows the words in capitals.
pub const RUNNING: [(&str, &str, Expected); 122] = [
    ("nothing", "", Returns(0)),
    // Three standard streams, monitor, channel, console, a disk.
    ("given", "", Returns(7)),
    // Files that it has.
    ("reopen", "", Ends("openat")),
    ("write_layer", "", BADF),
    ("fchmod", "", Ends("fchmod")),
    ("fchown", "", Ends("fchown")),
    ("fsetxattr", "", Ends("fsetxattr")),
    ("fremovexattr", "", Ends("fremovexattr")),
    ("ftruncate", "", Ends("ftruncate")),
    ("fallocate", "", BADF),
    ("punch", "", BADF),
    ("map_layer", "", Fails(&[libc::EACCES])),
    ("utimens", "", Ends("utimensat")),
    ("futimens_flags", "", Ends("ioctl")),
    ("lease", "", Ends("fcntl")),
    ("seals", "", Ends("fcntl")),
    ("notify", "", Ends("fcntl")),
    ("link", "", Ends("linkat")),
    ("handle", "", Ends("name_to_handle_at")),
    ("open_by_handle", "", Ends("open_by_handle_at")),
    ("setxattrat", "", Ends("setxattrat")),
    ("removexattrat", "", Ends("removexattrat")),
    ("quotactl_fd", "", Ends("quotactl_fd")),
    // Files of the user, of others, of the system.
    ("open", "SECRET", Ends("openat")),
    ("open", "/etc/passwd", Ends("openat")),
    ("open", "/proc/self/maps", Ends("openat")),
    ("open", "/proc/sys/vm/overcommit_memory", NOENT),
    (
        "open_write",
        "/proc/sys/vm/overcommit_memory",
        Ends("openat"),
    ),
    ("open_old", "SECRET", Ends("open")),
    ("openat2", "SECRET", Ends("openat2")),
    ("open_write", "SECRET", Ends("openat")),
    ("create", "NEW", Ends("openat")),
    ("lent_again", "", Ends("openat")),
    ("processes", "", Ends("openat")),
    ("stat", "SECRET", NOENT),
    ("stat_empty_path", "SECRET", NOENT),
    ("statx", "SECRET", NOENT),
    ("access", "SECRET", NOENT),
    ("readlink", "", NOENT),
    ("unlink", "SECRET", Ends("unlink")),
    ("rename", "SECRET", Ends("rename")),
    ("mkdir", "", Ends("mkdir")),
    ("mknod", "", Ends("mknod")),
    ("truncate", "SECRET", Ends("truncate")),
    ("chmod", "SECRET", Ends("chmod")),
    ("inotify", "", Ends("inotify_init1")),
    ("fanotify", "", Ends("fanotify_init")),
    // The network, and sockets of the host.
    ("socket_inet", "", Ends("socket")),
    ("socket_unix", "", Ends("socket")),
    ("socket_netlink", "", Ends("socket")),
    ("socket_packet", "", Ends("socket")),
    ("socket_alg", "", Ends("socket")),
    ("socketpair", "", Ends("socketpair")),
    ("sendmsg_path", "SOCKET", Fails(&[libc::EISCONN])),
    ("sendmsg_abstract", "SOCKET", Fails(&[libc::EISCONN])),
    ("sendto", "SOCKET", Ends("sendto")),
    ("connect", "SOCKET", Ends("connect")),
    ("accept", "", Ends("accept4")),
    // Other processes.
    ("kill", "OWNER", Ends("kill")),
    ("tkill", "OWNER", Ends("tkill")),
    ("tgkill", "OWNER", Ends("tgkill")),
    ("tgkill_own", "", Returns(0)),
    ("sigqueue", "OWNER", Ends("rt_sigqueueinfo")),
    ("pidfd", "OWNER", Ends("pidfd_open")),
    ("pidfd_getfd", "", Ends("pidfd_getfd")),
    ("setown", "OWNER", Ends("fcntl")),
    ("ptrace", "OWNER", Ends("ptrace")),
    ("vm_read", "OWNER", Ends("process_vm_readv")),
    ("vm_write", "OWNER", Ends("process_vm_writev")),
    ("process_madvise", "", Ends("process_madvise")),
    ("kcmp", "OWNER", Ends("kcmp")),
    ("prlimit", "OWNER", Ends("prlimit64")),
    ("setpriority", "OWNER", Ends("setpriority")),
    ("scheduler", "", Ends("sched_setscheduler")),
    ("affinity", "OWNER", Ends("sched_setaffinity")),
    ("ioprio", "OWNER", Ends("ioprio_set")),
    ("shmget", "", Ends("shmget")),
    ("msgget", "", Ends("msgget")),
    ("semget", "", Ends("semget")),
    ("mq_open", "", Ends("mq_open")),
    // Mounts and namespaces.
    ("mount", "", Ends("mount")),
    ("umount", "", Ends("umount2")),
    ("open_tree", "", Ends("open_tree")),
    ("open_tree_attr", "", Ends("open_tree_attr")),
    ("fsopen", "", Ends("fsopen")),
    ("fsconfig", "", Ends("fsconfig")),
    ("fspick", "", Ends("fspick")),
    ("mount_setattr", "", Ends("mount_setattr")),
    ("pivot_root", "", Ends("pivot_root")),
    ("chroot", "", Ends("chroot")),
    ("setns", "", Ends("setns")),
    ("unshare", "", Ends("unshare")),
    // Large parts of the kernel.
    ("io_uring", "", NOSYS),
    ("aio", "", Ends("io_setup")),
    ("bpf", "", Ends("bpf")),
    ("perf", "", Ends("perf_event_open")),
    ("userfaultfd", "", Ends("userfaultfd")),
    ("keyctl", "", Ends("keyctl")),
    ("add_key", "", Ends("add_key")),
    ("memfd", "", Ends("memfd_create")),
    ("memfd_secret", "", Ends("memfd_secret")),
    ("personality", "", Ends("personality")),
    ("modify_ldt", "", Ends("modify_ldt")),
    ("seccomp", "", Ends("seccomp")),
    ("prctl_dumpable", "", Ends("prctl")),
    ("prctl_pdeathsig", "", Ends("prctl")),
    ("reboot", "", Ends("reboot")),
    ("syslog", "", Ends("syslog")),
    ("init_module", "", Ends("finit_module")),
    ("setuid", "", Ends("setresuid")),
    ("tiocsti", "", Ends("ioctl")),
    ("ioctl_unknown", "", Ends("ioctl")),
    ("x32", "", NOSYS),
    // Other programs, other processes, other code.
    ("execve", "", Ends("execve")),
    ("fork", "", Ends("fork")),
    ("clone", "", Ends("clone")),
    ("clone3", "", NOSYS),
    ("mprotect_exec", "", Ends("mprotect")),
    ("shared_memory", "", Ends("mmap")),
    // As much as it can get: GiB, threads, descriptors.
    ("memory", "", Within(0, 3)),
    ("threads", "", Within(40, 81)),
    ("descriptors", "", Within(1000, 4096)),
];

/// Of a machine without a NIC, to its disk: it would be no tap's anyway.
pub const NO_TAP: [(&str, Expected); 2] =
    [("tap_offload", Ends("ioctl")), ("tap_name", Ends("ioctl"))];

/// Of a machine with a NIC, to its tap, once the machine runs.
pub const TAP: [(&str, Expected); 9] = [
    ("tap_offload", Returns(0)),
    ("tap_name", Returns(0)),
    // Another tap, or another queue of a tap.
    ("tap_new", Ends("ioctl")),
    ("tap_queue", Ends("ioctl")),
    // What outlives the machine, or is its owner's to decide.
    ("tap_persist", Ends("ioctl")),
    ("tap_owner", Ends("ioctl")),
    ("tap_filter", Ends("ioctl")),
    ("tap_link", Ends("ioctl")),
    ("ioctl_unknown", Ends("ioctl")),
];

/// While the VMM starts: what is no part of a start is not there.
pub const STARTING: [(&str, &str, Expected); 14] = [
    ("reopen", "", NOENT),
    ("open", "SECRET", Fails(&[libc::ENOENT, libc::EACCES])),
    ("open", "/etc/shadow", Fails(&[libc::ENOENT, libc::EACCES])),
    ("open_write", "SECRET", NOENT),
    ("create", "NEW", NOENT),
    ("kernel_write", "", BADF),
    ("fchmod", "", NOSYS),
    ("socket_unix", "", NOSYS),
    ("kill", "OWNER", NOSYS),
    ("execve", "", NOSYS),
    ("fork", "", NOSYS),
    ("mount", "", NOSYS),
    ("unshare", "", NOSYS),
    ("keyctl", "", NOSYS),
];
