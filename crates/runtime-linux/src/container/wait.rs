//! How a process, and how the container, ended.

use std::time::Duration;

use container_api::{Error, Kind};

use super::{Container, Leaves, Stage};
use crate::limits::limit;
use crate::process::Ended;

/// How long the end of the machine may take to be seen after the guest was lost.
const END_LIMIT: Duration = limit(20);

impl Container {
    /// Waits for the end of the process `id`, with its output handed over. An empty one is the first, and so the container.
    ///
    /// # Errors
    /// When there is no such process, or the container could not be started.
    pub async fn wait(&self, id: &str) -> Result<Ended, Error> {
        if id.is_empty() {
            return self.ended().await;
        }
        let process = self.process(id)?;
        let ended = process.ended().await;
        self.forget(id);
        if process.is_given_up() {
            return Ok(ended);
        }
        Ok(self.with_its_container(ended).await)
    }

    /// How the container ended, once its machine is gone. A container that deletes itself is told of as
    /// soon as its process has ended and its output is handed over, and its volumes are closed: nobody will look at its disk.
    async fn ended(&self) -> Result<Ended, Error> {
        let leaves = self.leaves();
        if leaves != Leaves::All {
            let first = match &*self.stage.borrow() {
                Stage::Running { first, .. } => Some(first.clone()),
                _ => None,
            };
            if let Some(first) = first {
                let ended = first.ended().await;
                let is_known = ended.reason.is_none();
                if is_known && (leaves == Leaves::Nothing || self.closes().await) {
                    return Ok(ended);
                }
            }
        }
        self.stopped().await
    }

    /// Waits until its volumes are closed, or its machine is gone; tells whether they are.
    async fn closes(&self) -> bool {
        let mut closed = self.closed.subscribe();
        tokio::select! {
            closed = closed.wait_for(|closed| *closed) => closed.is_ok(),
            _ = self.stopped() => false,
        }
    }

    /// How a further process ended, of which the guest can tell no more than `ended` does: where the container has ended
    /// meanwhile, that killed what it still ran.
    async fn with_its_container(&self, ended: Ended) -> Ended {
        if ended.reason.is_none() {
            return ended;
        }
        match tokio::time::timeout(END_LIMIT, self.stopped()).await {
            Ok(Ok(container)) => Ended {
                exit_code: match container.reason {
                    Some(_) => container.exit_code,
                    None => 128 + libc::SIGKILL,
                },
                reason: container.reason,
                ..ended
            },
            _ => ended,
        }
    }

    /// How the container ended, once its machine is gone.
    pub(super) async fn stopped(&self) -> Result<Ended, Error> {
        let mut stage = self.stage.subscribe();
        let reached = stage
            .wait_for(|stage| matches!(stage, Stage::Stopped(_) | Stage::Failed(_)))
            .await;
        match reached.as_deref() {
            Ok(Stage::Stopped(ended)) => Ok(ended.clone()),
            Ok(Stage::Failed(error)) => Err(error.clone()),
            _ => Err(Error::new(Kind::Internal, "the helper is shutting down")),
        }
    }
}
