//! A disk to which the host cannot write.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::ControlError;

/// Why the host does not take what a machine writes to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refusal {
    /// Its file system is full (`ENOSPC`).
    #[default]
    Full,
    /// A quota is used up (`EDQUOT`).
    Quota,
    /// The file would become larger than it may be (`EFBIG`): by `RLIMIT_FSIZE`, or for its file system.
    FileSize,
    /// Its file system has become read-only (`EROFS`), as one does after an error.
    ReadOnly,
    /// Any other error (`EIO` and the like).
    Failed,
}

/// How often a machine has come to a stand, and why the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) stalls: u64,
    pub(crate) last: Refusal,
}

impl Count {
    /// Once more.
    pub(crate) fn add(&mut self, refusal: Refusal) {
        *self = Self {
            stalls: self.stalls.wrapping_add(1),
            last: refusal,
        };
    }
}

/// Whoever lets a machine that stands still go on.
#[async_trait]
pub(crate) trait Retry: Debug + Send + Sync {
    /// Does once more what the machine stands still for.
    async fn retry(&self) -> Result<(), ControlError>;
}

/// The moments at which a machine comes to a stand because the host does not take what it writes to a disk. Nothing of what its guest
/// writes is lost, or told to it as an error: it goes on at that place when it is told to and the host takes it.
///
/// There are none where the VMM lacks [`crate::Capabilities::waits_for_room`].
#[derive(Debug)]
pub struct Stalls {
    count: watch::Receiver<Count>,
    machine: Arc<dyn Retry>,
}

impl Stalls {
    /// Those of `machine`, which counts them in `count`.
    pub(crate) fn new(count: watch::Receiver<Count>, machine: Arc<dyn Retry>) -> Self {
        Self { count, machine }
    }

    /// Waits for the next one, and says why. May be cancelled.
    ///
    /// # Errors
    /// [`ControlError::Closed`] when the machine has ended.
    pub async fn next(&mut self) -> Result<Refusal, ControlError> {
        let changed = self.count.changed().await;
        changed.map_err(|_| ControlError::Closed)?;
        Ok(self.count.borrow_and_update().last)
    }

    /// Lets the machine write again what the host did not take. Where it still does not, that is the next stall.
    ///
    /// # Errors
    /// When the VMM does not obey.
    pub async fn retry(&self) -> Result<(), ControlError> {
        self.machine.retry().await
    }
}
