//! `stats` and `top`: what a container uses, and its processes.

use container_api::{Error, Kind, runtime, types};
use container_resource::container::ContainerStatistics;

use super::Containers;

impl Containers {
    /// What the container `id` uses.
    pub async fn statistics(&self, id: &str) -> Result<ContainerStatistics, Error> {
        let entry = self.get(id)?;
        let sample = entry
            .ask(|mut client| async move { client.statistics(runtime::StatisticsRequest {}).await })
            .await?;
        let guest = sample.guest.ok_or_else(|| {
            Error::new(Kind::Internal, "the runtime helper has left the guest out")
        })?;
        Ok(ContainerStatistics {
            id: id.to_owned(),
            memory_usage_bytes: Some(guest.memory_usage_bytes),
            memory_current_bytes: Some(guest.memory_current_bytes),
            memory_limit_bytes: Some(guest.memory_limit_bytes),
            cpu_usage_usec: Some(guest.cpu_usage_usec),
            network_rx_bytes: Some(guest.network_rx_bytes),
            network_tx_bytes: Some(guest.network_tx_bytes),
            block_read_bytes: Some(guest.block_read_bytes),
            block_write_bytes: Some(guest.block_write_bytes),
            num_processes: Some(guest.processes),
            host_memory_bytes: Some(sample.host_memory_bytes),
            cpu_pressure_usec: Some(guest.cpu_pressure_usec),
            memory_pressure_usec: Some(guest.memory_pressure_usec),
            io_pressure_usec: Some(guest.io_pressure_usec),
        })
    }

    /// The processes of the container `id`.
    pub async fn processes(&self, id: &str) -> Result<types::Processes, Error> {
        let entry = self.get(id)?;
        entry
            .ask(|mut client| async move { client.processes(runtime::ProcessesRequest {}).await })
            .await
    }
}
