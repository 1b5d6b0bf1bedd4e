//! The guest's state and what can be done with it, free of the wire.

mod archive;
mod control;
mod error;
mod exec;
mod network;
mod reset;
mod shutdown;
mod start;
mod trim;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use container_api::types::Statistics;
use container_archive::operation::Subject;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::ThreadNameSpaceType;
use tokio::sync::watch;

use crate::container::{Cgroup, Growth, Leftover, statistics};
use crate::launch::seccomp;
use crate::network::Numbers;
use crate::process::{Process, Table};
use crate::sockets::Sockets;

pub use control::resize;
pub use error::AgentError;

/// The one agent.
#[derive(Debug)]
pub struct Agent {
    state: Mutex<State>,
    shut_down: watch::Sender<bool>,
    /// Volumes that become larger.
    growth: Arc<Growth>,
    /// Where the agent itself lives, to come back from other pid namespaces.
    own: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    /// Set by Start, and for good if it fails.
    started: bool,
    /// A writable disk is mounted; it is closed in order even if the start failed after that.
    has_upper_disk: bool,
    /// For the container's end.
    leftover: Leftover,
    container: Option<Arc<Container>>,
    /// Holds the container's root beyond its last process: unmounting writes to the disk, which whoever waits for the
    /// process need not wait for.
    root: Option<OwnedFd>,
    processes: Table,
    /// The host wants the container frozen.
    paused: bool,
    /// Its network interfaces.
    interfaces: Numbers,
    /// Operations that it stands still for.
    standstills: u32,
    /// Whose file systems are held: each once, as whoever lets one go does that for all.
    held: Vec<Subject>,
}

/// A container that was started.
#[derive(Debug)]
pub struct Container {
    pub cgroup: Arc<Cgroup>,
    namespaces: ThreadNameSpaceType,
    leader: Arc<Process>,
    seccomp: Option<seccomp::Filter>,
    sockets: Arc<Sockets>,
}

impl Container {
    /// Its sockets.
    pub fn sockets(&self) -> Arc<Sockets> {
        Arc::clone(&self.sockets)
    }

    /// Its first process.
    pub fn leader(&self) -> Pid {
        self.leader.pid
    }
}

impl Agent {
    /// Nothing is started yet.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            state: Mutex::default(),
            shut_down: watch::Sender::new(false),
            growth: Arc::default(),
            own: pidfd_open(Pid::INIT, PidfdFlags::empty())?,
        }))
    }

    /// The container, running or not.
    pub fn container(&self) -> Result<Arc<Container>, AgentError> {
        self.state().container.clone().ok_or(AgentError::NotStarted)
    }

    /// What the container uses.
    pub fn statistics(&self) -> Result<Statistics, AgentError> {
        let cgroup = Arc::clone(&self.container()?.cgroup);
        let interfaces = self.state().interfaces.clone();
        Ok(statistics(&cgroup, &interfaces))
    }

    /// A process by its id.
    pub fn process(&self, id: &str) -> Result<Arc<Process>, AgentError> {
        Ok(self.state().processes.get(id)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An id becomes the name of a control group.
fn check_id(id: &str) -> Result<(), AgentError> {
    let valid = matches!(id.len(), 1..=128)
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if valid {
        Ok(())
    } else {
        Err(AgentError::Id(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names() {
        for id in ["a", "web-1", "0b9c5e3c-7d1e-4f57-8a3c-2b4f5b1c0d9e", "a..b"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "-x",
            "a b",
            "é",
            &"x".repeat(129),
        ] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }
}
