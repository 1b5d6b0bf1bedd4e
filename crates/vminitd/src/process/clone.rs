//! clone3(2).

use std::convert::Infallible;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::fatal;

/// Of linux/sched.h.
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A child that was cloned.
#[derive(Debug)]
pub struct Child {
    pub pid: Pid,
    /// Readable when the child has ended.
    pub pidfd: OwnedFd,
}

/// Where a child is to live.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// New namespaces of these types.
    New(ThreadNameSpaceType),
    /// The pid namespace of the process `other`; the agent itself stays in that of `own`.
    PidsOf {
        other: &'a OwnedFd,
        own: &'a OwnedFd,
    },
}

/// Clones the agent into `place` and into the control group whose directory is `cgroup`. The child runs
/// `body`, which never returns.
pub fn clone_child(
    place: Place<'_>,
    cgroup: BorrowedFd<'_>,
    body: impl FnOnce() -> Infallible,
) -> io::Result<Child> {
    let (namespaces, _guard) = match place {
        Place::New(types) => (u64::from(types.bits()), None),
        Place::PidsOf { other, own } => (0, Some(PidNamespace::enter(other, own)?)),
    };
    let flags = CLONE_PIDFD | CLONE_INTO_CGROUP;
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain data for which all zeroes is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | namespaces;
    args.pidfd = (&raw mut pidfd).expose_provenance() as u64;
    args.exit_signal = u64::try_from(libc::SIGCHLD).map_err(io::Error::other)?;
    args.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: without CLONE_VM and with no stack given this is fork(2): the child has its own copy of all
    // memory. The agent has one thread, so no lock is held by a thread that the child lacks.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    if result == 0 {
        fatal::becomes_child();
        body();
    }
    let pid = i32::try_from(result)
        .ok()
        .filter(|pid| *pid > 0)
        .and_then(Pid::from_raw);
    let pid = pid.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// While this lives, children are born into another pid namespace. So the agent is their parent and can reap
/// them, and one clone is enough.
struct PidNamespace<'a> {
    own: &'a OwnedFd,
}

impl<'a> PidNamespace<'a> {
    fn enter(other: &OwnedFd, own: &'a OwnedFd) -> io::Result<Self> {
        move_into_thread_name_spaces(other.as_fd(), ThreadNameSpaceType::PROCESS_ID)?;
        Ok(Self { own })
    }
}

impl Drop for PidNamespace<'_> {
    fn drop(&mut self) {
        let own = self.own.as_fd();
        if let Err(error) = move_into_thread_name_spaces(own, ThreadNameSpaceType::PROCESS_ID) {
            // Later containers would be born in the wrong place.
            fatal::die(&error);
        }
    }
}
