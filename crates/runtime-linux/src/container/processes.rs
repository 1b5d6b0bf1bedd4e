//! The processes that callers know by their ids.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use container_api::{Error, Kind};

use super::{Container, Stage};
use crate::process::Process;

/// The most processes that are remembered; beyond, those that have ended are forgotten.
const MAX_PROCESSES: usize = 4096;

impl Container {
    /// The process `id`; an empty one is the first.
    pub(super) fn process(&self, id: &str) -> Result<Arc<Process>, Error> {
        if id.is_empty() {
            if let Stage::Running { first, .. } = &*self.stage.borrow() {
                return Ok(first.clone());
            }
            self.guest()?;
        }
        self.known().get(id).cloned().ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                format!("container {} has no process {id}", self.configuration.id),
            )
        })
    }

    pub(super) fn remember(&self, id: &str, process: Arc<Process>) {
        let mut known = self.known();
        if known.len() >= MAX_PROCESSES {
            known.retain(|_, process| !process.has_ended());
        }
        known.insert(id.to_owned(), process);
    }

    /// Forgets a process whose end has been told.
    pub(super) fn forget(&self, id: &str) {
        self.known().remove(id);
    }

    /// Whether an operation or a further process goes on.
    pub(crate) fn is_busy(&self) -> bool {
        self.known().values().any(|process| !process.has_ended())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Process>>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
