//! Resources that a container uses.

use std::collections::BTreeMap;

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
    /// Bytes, of all networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_rx_bytes: Option<u64>,
    /// Bytes, of all networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_tx_bytes: Option<u64>,
    /// Of each network that it is connected to, by the network's name.
    #[serde(default)]
    pub networks: BTreeMap<String, NetworkStatistics>,
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

/// What went through a container's interface on one network, as its guest counts it: totals since it was connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatistics {
    /// What the container calls it, such as `eth0`.
    pub interface: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets that came damaged.
    pub rx_errors: u64,
    /// Packets that came, and for which there was no place or no use.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets that were to be sent, and for which there was no place.
    pub tx_dropped: u64,
}
