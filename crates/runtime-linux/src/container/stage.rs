//! How far a container has come.

use std::sync::Arc;

use container_api::guest_channel::Guest;
use container_api::{Error, Kind};
use jiff::Timestamp;

use super::{Container, Started};
use crate::process::{Ended, Process};

/// How far a container has come.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Its machine boots, or waits for the request to start.
    Booting,
    /// Its first process runs.
    Running {
        /// Calls into the guest.
        guest: Guest,
        /// The first process.
        first: Arc<Process>,
        /// How it was started.
        started: Arc<Started>,
    },
    /// It could not be started.
    Failed(Error),
    /// It has ended, and so has its machine.
    Stopped(Ended),
}

/// Where a container is in its life. What runs has been started at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its machine boots, or waits for the request to start.
    Booting,
    /// Its first process runs.
    Running {
        /// When that was started.
        started: Timestamp,
    },
    /// Running, with every process frozen.
    Paused {
        /// When its first process was started.
        started: Timestamp,
    },
    /// On its way to stopped.
    Stopping {
        /// When its first process was started.
        started: Timestamp,
    },
    /// It has ended, or could not be started.
    Stopped,
}

impl Container {
    /// Where it is in its life.
    pub fn state(&self) -> State {
        match &*self.stage.borrow() {
            Stage::Booting => State::Booting,
            Stage::Running { started, .. } => {
                let started = started.at;
                if *self.stopping.borrow() {
                    State::Stopping { started }
                } else if *self.paused.borrow() {
                    State::Paused { started }
                } else {
                    State::Running { started }
                }
            }
            Stage::Failed(_) | Stage::Stopped(_) => State::Stopped,
        }
    }

    /// Waits until the first process runs or will not.
    pub(super) async fn booted(&self) {
        let mut stage = self.stage.subscribe();
        // The sender lives as long as `self`, so there is no error.
        let _ = stage
            .wait_for(|stage| !matches!(stage, Stage::Booting))
            .await;
    }

    /// The guest of a running container.
    pub(crate) fn guest(&self) -> Result<Guest, Error> {
        match &*self.stage.borrow() {
            Stage::Running { guest, .. } => Ok(guest.clone()),
            Stage::Booting => Err(Error::new(
                Kind::InvalidState,
                format!("container {} is not running yet", self.configuration.id),
            )),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Stopped(ended) => Err(self.not_running(ended)),
        }
    }

    /// It has ended already.
    pub(super) fn not_running(&self, ended: &Ended) -> Error {
        let mut text = format!("container {} is not running", self.configuration.id);
        if let Some(reason) = &ended.reason {
            text.push_str(": ");
            text.push_str(reason);
        }
        Error::new(Kind::InvalidState, text)
    }
}
