//! The VMM's process: started with exactly the descriptors it is given, confined, ended with its
//! owner.

mod calls;
mod child;
pub(crate) mod loan;
mod report;
mod spawn;
mod supervisor;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};
use tokio::io::unix::AsyncFd;

use crate::confinement::ceilings::Ceilings;
use crate::confinement::cgroup::{Allowance, Cgroup};
use crate::confinement::identity::Identity;
use crate::confinement::{Isolation, Libraries};
use loan::Loan;
pub(crate) use supervisor::Replacement;
use supervisor::State;

pub use spawn::SpawnError;
pub(crate) use spawn::spawn;

/// A running process that is killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct VmmProcess {
    pid: u32,
    pidfd: AsyncFd<OwnedFd>,
    status: Option<ExitStatus>,
    state: Arc<State>,
    /// Goes when the process has gone.
    cgroup: Option<Cgroup>,
}

/// What to run, and with what.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) arguments: &'a [OsString],
    /// Open in the program under their present numbers, and no others beside standard error.
    pub(crate) descriptors: &'a [OwnedFd],
    /// Its files, itself among them.
    pub(crate) libraries: &'a Libraries,
    /// What it opens by itself as it starts.
    pub(crate) loans: Vec<Loan>,
    pub(crate) ceilings: Ceilings,
    /// Requests of `ioctl`(2) that it makes.
    pub(crate) requests: &'a [u32],
    /// Further system calls that it makes while it starts.
    pub(crate) starting: &'a [i64],
    /// Whether it may run where the host has no namespaces and no Landlock to confine it with.
    pub(crate) accept_less: bool,
}

/// A started program.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: VmmProcess,
    /// Reading end of its standard error and standard output.
    pub(crate) messages: OwnedFd,
    /// How it is kept from the host.
    pub(crate) isolation: Isolation,
    /// Who it is.
    pub(crate) identity: Identity,
}

impl VmmProcess {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// From now on a guest's bytes are in the process's hands, and it may do less.
    pub(crate) fn machine_runs(&self) {
        self.state.machine_runs();
    }

    /// Name of the system call for which the process was ended.
    pub(crate) fn forbidden(&self) -> Option<&str> {
        self.state.forbidden()
    }

    /// Sets which descriptor is replaced when the process opens [`Replacement::PATH`], or none; gives the one that has not been.
    pub(crate) fn replace_next(&self, next: Option<Replacement>) -> Option<Replacement> {
        self.state.replace_next(next)
    }

    /// Waits for the end of the process. May be called again and cancelled at any time.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // Becomes readable when the process ends, and stays so.
        let _ended = self.pidfd.readable().await?;
        let status = reap(self.pidfd.get_ref().as_fd())?;
        Ok(*self.status.insert(status))
    }

    /// Puts a process that serves it, and that one's children, into its cgroup, where it has one.
    pub(crate) fn admit(&mut self, server: u32, more: Allowance) -> io::Result<()> {
        match &mut self.cgroup {
            Some(cgroup) => cgroup.admit_family(server, more),
            None => Ok(()),
        }
    }

    /// Sends SIGKILL. Succeeds if the process has already ended.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for VmmProcess {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Neither fails for a child that has not been reaped.
            let _ = self.kill();
            let _ = reap(self.pidfd.get_ref().as_fd());
        }
    }
}

/// Waits for a child and removes it from the process table.
fn reap(pidfd: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    let ended = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)
    })?;
    Ok(exit_status(ended.ok_or(io::ErrorKind::WouldBlock)?))
}

/// The same in the encoding of wait(2).
fn exit_status(ended: WaitIdStatus) -> ExitStatus {
    let code = ended.exit_status().map(|code| code << 8);
    ExitStatus::from_raw(code.or(ended.terminating_signal()).unwrap_or_default())
}

/// Describes how a process ended: "exited with status 1", "was killed by signal 9".
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}
