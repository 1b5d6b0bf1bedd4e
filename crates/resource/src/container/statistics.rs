//! Resources that a container uses.

use serde::{Deserialize, Serialize};

/// A sample of what a container uses. Counters are totals since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatistics {
    /// Container.
    pub id: String,
    /// Bytes of memory that the container uses, without page cache that it can give back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_usage_bytes: Option<u64>,
    /// Bytes that its control group holds, page cache and all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_current_bytes: Option<u64>,
    /// Bytes it may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Microseconds of CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_usec: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_rx_bytes: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_tx_bytes: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_read_bytes: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_write_bytes: Option<u64>,
    /// Processes in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_processes: Option<u64>,
    /// Bytes of the host's memory that the virtual machine takes (proportional set size).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_memory_bytes: Option<u64>,
    /// Microseconds in which some process waited for a CPU (PSI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_pressure_usec: Option<u64>,
    /// Microseconds in which some process waited for memory (PSI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pressure_usec: Option<u64>,
    /// Microseconds in which some process waited for a disk (PSI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_pressure_usec: Option<u64>,
}
