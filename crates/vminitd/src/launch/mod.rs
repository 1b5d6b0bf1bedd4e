//! What happens between clone and exec: code of the child, which builds the container around itself.
//!
//! The agent has one thread, so its clone may do anything until it execs. Whatever fails is reported and ends
//! the child; nothing is undone, because the namespaces end with it.

mod capabilities;
mod container;
mod devices;
mod executable;
mod failure;
mod files;
mod hidden;
mod identity;
mod masks;
mod mounts;
mod plan;
mod process;
mod rlimits;
pub mod seccomp;
mod streams;

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{setsid, umask};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use failure::Context;
pub use failure::{Failure, FailureKind};
pub use plan::{ContainerPlan, PlanError, ProcessPlan};
pub use process::{exec, exec_fd, explain, restore_signals};
pub use streams::ChildIo;

use crate::container::Cgroup;
use crate::process::Reporter;
use crate::{archive, idle as waiting, init};
use streams::OpenStdio;

/// Runs a container's first process in the namespaces that clone has just made.
pub fn first(
    plan: &ContainerPlan,
    root: &OwnedFd,
    cgroup: &Cgroup,
    io: ChildIo,
    reporter: &Reporter,
) -> Result<Infallible, Failure> {
    let own = process::begin(&plan.process)?;
    container::build(plan, root, cgroup)?;
    let streams = OpenStdio::open(io, plan.process.size, reporter)?;
    streams.bind_console()?;
    // A masked /etc/passwd hides nothing from whoever asked for the mask.
    let identity = process::identity(&plan.process)?;
    container::seal(plan)?;
    process::run(&plan.process, &identity, own.as_ref(), streams, reporter)
}

/// Keeps the mounts of a container of which nothing runs.
pub fn idle(plan: &ContainerPlan, root: &OwnedFd, cgroup: &Cgroup) -> Result<Infallible, Failure> {
    let step = || "cannot keep the mounts";
    let image = init::Image::open().context(step)?;
    container::build(plan, root, cgroup)?;
    container::seal(plan)?;
    process::restore_signals()?;
    Err(Failure::step(step(), image.run_as(&[waiting::NAME.into()])))
}

/// Runs an operation on the files of the container whose first process `leader` refers to. It enters that one's view itself: what it
/// needs of the guest's own comes before.
pub fn archive(
    words: &[Vec<u8>],
    leader: &OwnedFd,
    io: ChildIo,
    reporter: &Reporter,
) -> Result<Infallible, Failure> {
    let step = || "cannot start the operation on the files";
    let image = init::Image::open().context(step)?;
    setsid().context(step)?;
    umask(Mode::empty());
    OpenStdio::open(io, None, reporter)?.install()?;
    process::restore_signals()?;
    fcntl_setfd(leader, FdFlags::empty()).context(step)?;
    let number = leader.as_raw_fd().to_string().into_bytes();
    let mut args = vec![archive::NAME.to_vec(), number];
    args.extend_from_slice(words);
    // Whoever parsed the words has refused NULs.
    let args = args.into_iter().filter_map(|word| CString::new(word).ok());
    let error = image.run_as(&args.collect::<Vec<_>>());
    Err(Failure::step(step(), error))
}

/// Runs a further process in the namespaces of the one that `leader` refers to.
pub fn join(
    plan: &ProcessPlan,
    leader: BorrowedFd<'_>,
    namespaces: ThreadNameSpaceType,
    io: ChildIo,
    reporter: &Reporter,
) -> Result<Infallible, Failure> {
    let own = process::begin(plan)?;
    move_into_thread_name_spaces(leader, namespaces).map_err(|error| match error {
        Errno::SRCH => Failure::ContainerStopped,
        error => Failure::step("cannot enter the container", error),
    })?;
    let streams = OpenStdio::open(io, plan.size, reporter)?;
    let identity = process::identity(plan)?;
    process::run(plan, &identity, own.as_ref(), streams, reporter)
}
