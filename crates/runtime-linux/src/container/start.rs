//! The start of the first process.

use std::sync::{Arc, PoisonError};

use container_api::{Error, Kind};
use container_resource::bundle::Timeline;
use jiff::Timestamp;

use super::{Container, Stage};
use crate::machine::Origin;
use crate::stdio::Stdio;

/// How a container was started.
#[derive(Debug)]
pub struct Started {
    /// When its first process ran.
    pub at: Timestamp,
    /// The phases up to then.
    pub timeline: Timeline,
    /// Where its machine came from.
    pub origin: Origin,
}

impl Container {
    /// Starts the first process, once; answers when it runs.
    ///
    /// # Errors
    /// Why it does not run.
    pub async fn start(&self, stdio: Stdio) -> Result<Arc<Started>, Error> {
        {
            let mut start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
            if start.is_none() {
                *start = Some(stdio);
            }
        }
        self.start_asked.notify_one();
        self.booted().await;
        match &*self.stage.borrow() {
            Stage::Running { started, .. } => Ok(started.clone()),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Stopped(ended) => Err(self.not_running(ended)),
            Stage::Booting => Err(Error::new(Kind::Internal, "the helper is shutting down")),
        }
    }
}
