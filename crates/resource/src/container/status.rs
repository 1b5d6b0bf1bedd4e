//! Status: the changing part of a container.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContainerConfiguration, PublishPort};
use crate::standstill::Standstill;

/// A container as `list` and `inspect` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagedContainer {
    /// The container's name.
    pub id: String,
    /// The configuration; never changes after creation, except by `rename` and `machine set`.
    pub configuration: ContainerConfiguration,
    /// What is.
    pub status: ContainerStatus,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Its bundle cannot be read, or its helper does not answer: see [`ContainerStatus::reason`].
    Unknown,
    /// Not running; also: never started.
    #[default]
    Stopped,
    /// Its first process runs.
    Running,
    /// Running, with every process frozen.
    Paused,
    /// On its way to stopped.
    Stopping,
    /// It has ended, and its policy starts it again after a pause.
    Restarting,
}

impl ContainerState {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
        }
    }
}

/// The changing part of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Where it is in its life.
    pub state: ContainerState,
    /// Addresses on its networks.
    pub networks: Vec<Attachment>,
    /// Ports that are open for it, with those that were chosen where any would do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published_ports: Vec<PublishPort>,
    /// When its first process was last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_date: Option<Timestamp>,
    /// When it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exited_date: Option<Timestamp>,
    /// How its first process last ended: exit status, or 128 + signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it ended or cannot be read, where that was not its own process's exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why its machine stands still, if it does: the host does not take what it writes. It goes on when the host does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standstill: Option<Standstill>,
    /// The guest's kernel killed one of its processes for lack of memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// State of its health check, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthState>,
    /// How often its restart policy has started it since it was last started by hand.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restart_count: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What the health check last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// In its start period, or not checked yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// As many checks in a row failed as are allowed.
    Unhealthy,
}

impl HealthState {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Starting, Self::Healthy, Self::Unhealthy];

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A container's place in a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Network's name.
    pub network: String,
    /// Fully qualified, with trailing dot, when a DNS domain is set.
    pub hostname: String,
    /// Address with prefix length.
    pub ipv4_address: String,
    /// Address of the gateway.
    pub ipv4_gateway: String,
    /// Address with prefix length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<String>,
    /// `xx:xx:xx:xx:xx:xx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}
