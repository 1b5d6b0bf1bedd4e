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
mod identity;
mod masks;
mod mounts;
mod plan;
mod process;
mod rlimits;
pub mod seccomp;
mod streams;

use std::convert::Infallible;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

pub use failure::{Failure, FailureKind};
pub use plan::{ContainerPlan, PlanError, ProcessPlan};
pub use process::{exec, exec_fd, explain, restore_signals};
pub use streams::ChildIo;

use crate::container::Cgroup;
use crate::process::Reporter;
use streams::Streams;

/// Runs a container's first process in the namespaces that clone has just made.
pub fn first(
    plan: &ContainerPlan,
    root: &OwnedFd,
    cgroup: &Cgroup,
    io: ChildIo,
    reporter: &Reporter,
) -> Result<Infallible, Failure> {
    let init = process::begin(&plan.process)?;
    container::build(plan, root, cgroup)?;
    let streams = Streams::open(io, plan.process.size, reporter)?;
    streams.bind_console()?;
    // A masked /etc/passwd hides nothing from whoever asked for the mask.
    let identity = process::identity(&plan.process)?;
    container::seal(plan)?;
    process::run(&plan.process, &identity, init.as_ref(), streams, reporter)
}

/// Runs a further process in the namespaces of the one that `leader` refers to.
pub fn join(
    plan: &ProcessPlan,
    leader: BorrowedFd<'_>,
    namespaces: ThreadNameSpaceType,
    io: ChildIo,
    reporter: &Reporter,
) -> Result<Infallible, Failure> {
    let init = process::begin(plan)?;
    move_into_thread_name_spaces(leader, namespaces).map_err(|error| match error {
        Errno::SRCH => Failure::ContainerStopped,
        error => Failure::step("cannot enter the container", error),
    })?;
    let streams = Streams::open(io, plan.size, reporter)?;
    let identity = process::identity(plan)?;
    process::run(plan, &identity, init.as_ref(), streams, reporter)
}
