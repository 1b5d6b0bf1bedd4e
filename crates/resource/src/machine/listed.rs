//! Machines and their snapshots, as they are listed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HomeMount, MachineUser};
use crate::container::{ContainerState, ManagedContainer};
use crate::platform::Platform;

/// Why there is no machine that could be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingMachine {
    /// None has the name.
    #[error("machine not found: {0}")]
    Named(String),
    /// None is named, and none is the default.
    #[error("there is no default machine")]
    Default,
}

impl MissingMachine {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Named(_) => "`container machine list` shows all machines.",
            Self::Default => {
                "Make one with `container machine create <image>`, or name one: see `container machine list`."
            }
        }
    }
}

/// A machine as `machine list` and `machine inspect` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineResource {
    /// Its name.
    pub id: String,
    /// Reference of the image it was made of.
    pub image: String,
    /// Platform of that image.
    pub platform: Platform,
    /// Whose it is.
    pub user_setup: MachineUser,
    /// Where it is in its life.
    pub status: ContainerState,
    /// It is meant where no machine is named.
    pub default: bool,
    /// When it was last booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_date: Option<Timestamp>,
    /// When it was made.
    pub created_date: Timestamp,
    /// Its container.
    pub container_id: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// How the user's home is seen.
    pub home_mount: HomeMount,
    /// It may run virtual machines.
    pub virtualization: bool,
    /// Kernel that it boots; absent: the system's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Bytes that its disk takes on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u64>,
    /// Address on its network, with prefix length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}

impl MachineResource {
    /// The machine of `container`, if it is one.
    pub fn of(container: ManagedContainer, default: Option<&str>, disk_size: u64) -> Option<Self> {
        let ManagedContainer {
            id: container_id,
            configuration,
            status,
        } = container;
        let machine = configuration.machine?;
        Some(Self {
            default: default == Some(machine.id.as_str()),
            id: machine.id,
            image: configuration.image.reference,
            platform: configuration.platform,
            user_setup: machine.user_setup,
            status: status.state,
            started_date: status.started_date,
            created_date: configuration.creation_date,
            container_id,
            cpus: configuration.resources.cpus,
            memory: configuration.resources.memory_in_bytes,
            home_mount: machine.home_mount,
            virtualization: configuration.virtualization,
            kernel: configuration.kernel,
            disk_size: Some(disk_size),
            ip_address: status
                .networks
                .into_iter()
                .next()
                .map(|attachment| attachment.ipv4_address),
        })
    }
}

/// A machine's disk as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its name, of its machine's.
    pub id: String,
    /// When it was made.
    pub created_date: Timestamp,
    /// Bytes that it takes on the host; what it shares with the machine's disk counts for both.
    pub disk_size: u64,
}
