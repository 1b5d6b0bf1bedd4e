//! What can be done to running processes: signals, sizes, freezing.

use std::fs::File;
use std::time::Duration;

use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::Interest;

use super::{Agent, AgentError, Container};
use crate::container::members;
use crate::process::Process;
use crate::watch::watch;

/// Largest signal number of Linux.
const SIGNAL_MAX: i32 = 64;
/// How long freezing may take; a process in an uninterruptible wait delays it.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// Documentation/admin-guide/sysctl/vm.rst.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
/// Names and inodes alone; what was read of files stays.
const SLAB_OBJECTS: &str = "2";

impl Agent {
    /// Sends `signal` to one process or to all of the container.
    pub fn signal(&self, id: &str, signal: i32, all: bool) -> Result<(), AgentError> {
        if !(1..=SIGNAL_MAX).contains(&signal) {
            return Err(AgentError::SignalNumber(signal));
        }
        if all {
            return self.container()?.signal_all(signal);
        }
        let process = self.process(id)?;
        if process.exit().is_some() {
            return Err(AgentError::ProcessEnded);
        }
        if signal == libc::SIGKILL && self.container()?.cgroup.apart(id).kill() {
            return Ok(());
        }
        process.signal(signal).map_err(AgentError::Signal)
    }

    /// Has the kernel drop the names and inodes that nobody uses. Those of a share go at once, as their file systems keep none
    /// without a name.
    pub async fn forget(&self) -> Result<(), AgentError> {
        let dropped = tokio::task::spawn_blocking(|| std::fs::write(DROP_CACHES, SLAB_OBJECTS));
        let dropped = dropped.await.map_err(std::io::Error::other);
        dropped
            .and_then(|dropped| dropped)
            .map_err(AgentError::Forget)
    }

    /// Freezes or thaws the container and waits until that is so.
    pub async fn freeze(&self, frozen: bool) -> Result<(), AgentError> {
        let container = self.container()?;
        self.state().paused = frozen;
        self.settle(&container).await
    }

    /// Freezes or thaws `container`, as it is wanted now.
    pub(super) async fn settle(&self, container: &Container) -> Result<(), AgentError> {
        let frozen = {
            let state = self.state();
            state.paused || state.standstills > 0
        };
        if container.leader.is_ending() {
            return Err(AgentError::Stopping);
        }
        tokio::time::timeout(FREEZE_LIMIT, container.freeze(frozen))
            .await
            .map_err(|_| AgentError::FreezeTimeout)?
    }
}

impl Container {
    fn signal_all(&self, signal: i32) -> Result<(), AgentError> {
        if signal == libc::SIGKILL {
            return self.cgroup.kill().map_err(AgentError::Signal);
        }
        let mut pids = Vec::new();
        members(self.cgroup.path(), 0, &mut pids);
        for pid in pids {
            // SAFETY: sends a signal. One that has ended meanwhile needs none; PID 1 alone reaps, and it is
            // here, so no number has gone to a stranger.
            unsafe { libc::kill(pid, signal) };
        }
        Ok(())
    }

    async fn freeze(&self, frozen: bool) -> Result<(), AgentError> {
        let failed = AgentError::Freeze;
        let events = File::open(self.cgroup.path().join("cgroup.events")).map_err(failed)?;
        let events = watch(events.into(), Interest::PRIORITY).map_err(failed)?;
        self.cgroup.freeze(frozen).map_err(failed)?;
        while self.cgroup.is_frozen() != frozen {
            events
                .ready(Interest::PRIORITY)
                .await
                .map_err(failed)?
                .clear_ready();
        }
        Ok(())
    }
}

/// Sets the size of the terminal of `process`, in characters.
pub fn resize(process: &Process, rows: u32, columns: u32) -> Result<(), AgentError> {
    let terminal = process.terminal().ok_or(AgentError::NoTerminal)?;
    let size = |count: u32| u16::try_from(count).map_err(|_| AgentError::TerminalSize);
    let size = Winsize {
        ws_row: size(rows)?,
        ws_col: size(columns)?,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal.master().get_ref(), size)
        .map_err(|error| AgentError::Resize(error.into()))
}
