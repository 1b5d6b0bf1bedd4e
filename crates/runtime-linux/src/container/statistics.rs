//! What a container uses, and what runs in it.

use container_api::guest::{ProcessesRequest, StatisticsRequest};
use container_api::{Error, types};

use super::Container;

/// What a container uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// As its guest counts it.
    pub guest: types::Statistics,
    /// Bytes of the host's memory that the machine takes (proportional set size); nothing where the host does not tell.
    pub host_memory_bytes: Option<u64>,
}

impl Container {
    /// Counts what it uses.
    ///
    /// # Errors
    /// When it does not run, or its guest does not answer.
    pub async fn statistics(&self) -> Result<Usage, Error> {
        let mut guest = self.guest()?.calls();
        let inside = self.ask(guest.statistics(StatisticsRequest {})).await?;
        let memory = self.memory.get();
        Ok(Usage {
            guest: inside,
            host_memory_bytes: memory.and_then(|memory| memory.bytes().ok()),
        })
    }

    /// Its processes, as the guest's kernel lists them.
    ///
    /// # Errors
    /// When it does not run, or its guest does not answer.
    pub async fn processes(&self) -> Result<types::Processes, Error> {
        let mut guest = self.guest()?.calls();
        self.ask(guest.processes(ProcessesRequest {})).await
    }
}
