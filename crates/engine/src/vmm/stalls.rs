//! A disk that finds no room on the host.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::ControlError;

/// Whoever lets a machine that stands still go on.
#[async_trait]
pub(crate) trait Retry: Debug + Send + Sync {
    /// Does once more what the machine stands still for.
    async fn retry(&self) -> Result<(), ControlError>;
}

/// The moments at which a machine comes to a stand because one of its disks finds no room on the host. Nothing of what its guest
/// writes is lost, or told to it as an error: it goes on at that place when it is told to and there is room.
///
/// There are none where the VMM lacks [`crate::Capabilities::waits_for_room`].
#[derive(Debug)]
pub struct Stalls {
    count: watch::Receiver<u64>,
    machine: Arc<dyn Retry>,
}

impl Stalls {
    /// Those of `machine`, which counts them in `count`.
    pub(crate) fn new(count: watch::Receiver<u64>, machine: Arc<dyn Retry>) -> Self {
        Self { count, machine }
    }

    /// Waits for the next one. May be cancelled.
    ///
    /// # Errors
    /// [`ControlError::Closed`] when the machine has ended.
    pub async fn next(&mut self) -> Result<(), ControlError> {
        let changed = self.count.changed().await;
        changed.map_err(|_| ControlError::Closed)
    }

    /// Lets the machine write again what found no room. Where there is still none, that is the next stall.
    ///
    /// # Errors
    /// When the VMM does not obey.
    pub async fn retry(&self) -> Result<(), ControlError> {
        self.machine.retry().await
    }
}
