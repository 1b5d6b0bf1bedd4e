//! Starts a child with its standard streams and learns whether it came as far as its exec.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::Pid;
use rustix::thread::ThreadNameSpaceType;
use thiserror::Error;
use tokio::io::Interest;

use super::clone::{Child, Place, clone_child};
use super::lifetime::reap;
use super::report::{Report, Reporter, pair};
use super::terminal::Terminal;
use crate::container::Cgroup;
use crate::launch::{self, ChildIo, ContainerPlan, Failure, FailureKind, ProcessPlan};
use crate::watch::{Watched, watch};

/// Bytes that a pipe holds. A large one means fewer switches between writer and reader.
const PIPE_SIZE: usize = 256 * 1024;

/// Why a process did not start.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// Pipes, sockets, descriptors.
    #[error("cannot make the standard streams")]
    Streams(#[source] io::Error),
    /// clone3(2).
    #[error("cannot start a process")]
    Clone(#[source] io::Error),
    /// The child's own reason.
    #[error("{reason}")]
    Child { kind: FailureKind, reason: String },
}

impl SpawnError {
    /// Whether the control group takes no members: because it hands controllers to groups below it, is threaded, or was removed by
    /// the container.
    pub fn is_unfit_group(&self) -> bool {
        let unfit = [libc::EBUSY, libc::EOPNOTSUPP, libc::ENODEV, libc::ENOENT];
        matches!(self, Self::Clone(error) if error.raw_os_error().is_some_and(|error| unfit.contains(&error)))
    }
}

/// A process that runs its program, and the agent's ends of its streams.
#[derive(Debug)]
pub struct Birth {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub stdin: Option<Watched>,
    pub stdout: Watched,
    /// None for a terminal, which has one output.
    pub stderr: Option<Watched>,
    pub terminal: Option<Arc<Terminal>>,
}

/// Which streams a process gets.
#[derive(Clone, Copy, Debug)]
pub struct StdioOptions {
    pub terminal: bool,
    pub stdin: bool,
}

/// The container that a further process joins.
#[derive(Clone, Copy, Debug)]
pub struct Inside<'a> {
    /// The container's first process.
    pub leader: &'a OwnedFd,
    /// The agent itself.
    pub own: &'a OwnedFd,
    pub namespaces: ThreadNameSpaceType,
}

/// Runs the container's first process, in new namespaces.
pub async fn first(
    stdio: StdioOptions,
    plan: &ContainerPlan,
    root: &OwnedFd,
    cgroup: &Cgroup,
) -> Result<Birth, SpawnError> {
    // The child makes its cgroup namespace itself: here it would get the agent's group as its root.
    let namespaces = plan.namespaces - ThreadNameSpaceType::CONTROL_GROUP;
    let place = Place::New(namespaces);
    let birthplace = cgroup.birthplace().map_err(SpawnError::Clone)?;
    spawn(stdio, place, birthplace.as_fd(), |io, reporter| {
        launch::first(plan, root, cgroup, io, reporter)
    })
    .await
}

/// Keeps the mounts of a container of which nothing runs.
pub async fn idle(
    plan: &ContainerPlan,
    root: &OwnedFd,
    cgroup: &Cgroup,
) -> Result<Birth, SpawnError> {
    let stdio = StdioOptions {
        terminal: false,
        stdin: false,
    };
    let birthplace = cgroup.birthplace().map_err(SpawnError::Clone)?;
    spawn(
        stdio,
        Place::New(plan.namespaces),
        birthplace.as_fd(),
        |_, _| launch::idle(plan, root, cgroup),
    )
    .await
}

/// Runs an operation on the files of the container whose first process `leader` refers to, in the control group `cgroup`.
pub async fn archive(
    stdin: bool,
    words: &[Vec<u8>],
    leader: &OwnedFd,
    cgroup: BorrowedFd<'_>,
) -> Result<Birth, SpawnError> {
    let stdio = StdioOptions {
        terminal: false,
        stdin,
    };
    let place = Place::New(ThreadNameSpaceType::empty());
    spawn(stdio, place, cgroup, |io, reporter| {
        launch::archive(words, leader, io, reporter)
    })
    .await
}

/// Runs a further process, in the namespaces of another.
pub async fn join(
    stdio: StdioOptions,
    plan: &ProcessPlan,
    inside: Inside<'_>,
    cgroup: BorrowedFd<'_>,
) -> Result<Birth, SpawnError> {
    let has_pids = inside.namespaces.contains(ThreadNameSpaceType::PROCESS_ID);
    let place = if has_pids {
        Place::PidsOf {
            other: inside.leader,
            own: inside.own,
        }
    } else {
        Place::New(ThreadNameSpaceType::empty())
    };
    let rest = inside.namespaces - ThreadNameSpaceType::PROCESS_ID;
    spawn(stdio, place, cgroup, |io, reporter| {
        launch::join(plan, inside.leader.as_fd(), rest, io, reporter)
    })
    .await
}

/// Clones into `place` and `cgroup`, and runs `body` in the child, which must end in an exec.
async fn spawn(
    stdio: StdioOptions,
    place: Place<'_>,
    cgroup: BorrowedFd<'_>,
    body: impl FnOnce(ChildIo, &Reporter) -> Result<Infallible, Failure>,
) -> Result<Birth, SpawnError> {
    let (reports, reporter) = pair().map_err(SpawnError::Streams)?;
    let pipes = (!stdio.terminal)
        .then(|| Pipes::new(stdio.stdin))
        .transpose();
    let (ours, io) = match pipes.map_err(SpawnError::Streams)? {
        Some(pipes) => (Some(pipes.ours), pipes.theirs),
        None => (None, ChildIo::Terminal),
    };
    let child = clone_child(place, cgroup, || {
        match body(io, &reporter) {
            Ok(never) => match never {},
            Err(failure) => reporter.send_failure(&failure),
        }
        // SAFETY: ends the child at once: nothing of the agent's may be flushed or dropped in it.
        unsafe { libc::_exit(127) }
    })
    .map_err(SpawnError::Clone)?;
    drop(reporter);
    let report = reports.collect().await.map_err(SpawnError::Streams)?;
    birth(child, stdio, ours, report)
}

fn birth(
    child: Child,
    stdio: StdioOptions,
    ours: Option<Ours>,
    report: Report,
) -> Result<Birth, SpawnError> {
    if let Some((kind, reason)) = report.failure {
        // It is about to end, unless the container has stopped it; its status says nothing more.
        let pidfd = watch(child.pidfd, Interest::READABLE).map_err(SpawnError::Streams)?;
        tokio::spawn(reap(Arc::new(pidfd)));
        return Err(SpawnError::Child { kind, reason });
    }
    let (stdin, stdout, stderr, terminal) = match (ours, report.terminal) {
        (Some(ours), _) => (ours.stdin, ours.stdout, Some(ours.stderr), None),
        (None, Some(master)) => {
            let terminal = Terminal::new(master).map_err(SpawnError::Streams)?;
            let master = Arc::clone(terminal.master());
            let stdin = stdio.stdin.then(|| Arc::clone(&master));
            (stdin, master, None, Some(terminal))
        }
        (None, None) => {
            return Err(SpawnError::Streams(io::Error::other(
                "the terminal did not arrive",
            )));
        }
    };
    let Child { pid, pidfd } = child;
    Ok(Birth {
        pid,
        pidfd,
        stdin,
        stdout,
        stderr,
        terminal,
    })
}

struct Pipes {
    ours: Ours,
    theirs: ChildIo,
}

struct Ours {
    stdin: Option<Watched>,
    stdout: Watched,
    stderr: Watched,
}

impl Pipes {
    fn new(stdin: bool) -> io::Result<Self> {
        let (their_stdin, stdin) = if stdin {
            let (reader, writer) = pipe()?;
            (Some(reader), Some(ours(writer)?))
        } else {
            (None, None)
        };
        let (stdout, their_stdout) = pipe()?;
        let (stderr, their_stderr) = pipe()?;
        Ok(Self {
            ours: Ours {
                stdin,
                stdout: ours(stdout)?,
                stderr: ours(stderr)?,
            },
            theirs: ChildIo::Pipes {
                stdin: their_stdin,
                stdout: their_stdout,
                stderr: their_stderr,
            },
        })
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&writer, PIPE_SIZE)?;
    Ok((reader, writer))
}

/// Only our end must not block: the flag belongs to the end, not to the pipe.
fn ours(end: OwnedFd) -> io::Result<Watched> {
    rustix::io::ioctl_fionbio(&end, true)?;
    shared(end)
}

fn shared(end: OwnedFd) -> io::Result<Watched> {
    Ok(Arc::new(watch(
        end,
        Interest::READABLE | Interest::WRITABLE,
    )?))
}
