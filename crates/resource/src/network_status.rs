//! A network as `network list` and `network inspect` show it (as Apple's container has it).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::container::PublishPort;
use crate::label::well_known;
use crate::network::NetworkConfiguration;

/// The value of the label [`well_known::ROLE`] of what is there by itself.
pub const BUILTIN: &str = "builtin";

/// A network: what was asked for, and what is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagedNetwork {
    /// The network's name.
    pub id: String,
    /// What was asked for.
    pub configuration: NetworkConfiguration,
    /// What is.
    pub status: NetworkStatus,
}

impl ManagedNetwork {
    /// Whether it is there by itself, and cannot be deleted.
    pub fn is_builtin(&self) -> bool {
        self.configuration
            .labels
            .get(well_known::ROLE)
            .is_some_and(|role| role == BUILTIN)
    }
}

/// The changing part of a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// Addresses of its containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_subnet: Option<Ipv4Net>,
    /// The host's, and the resolver's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_gateway: Option<Ipv4Addr>,
    /// Addresses of its containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_subnet: Option<Ipv6Net>,
    /// The host's, and the resolver's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// How packets leave; absent: its process does not run, as nothing needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why packets do not leave, though they should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Containers that are on it, running or not; absent if they were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<Vec<NetworkMember>>,
}

/// How packets leave a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Uplink {
    /// They do not.
    None,
    /// A pair of interfaces, one of them the host's.
    Veth,
    /// A program of that name, which makes each connection one of its own.
    Pasta,
    /// As [`Self::Pasta`].
    Slirp4netns,
}

/// A container on a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkMember {
    /// Container.
    pub id: String,
    /// Its machine is connected.
    pub attached: bool,
    /// With the length of the network's prefix.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// With the length of the network's prefix.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ipv6_address: String,
    /// `xx:xx:xx:xx:xx:xx`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Names by which the others find it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Ports of the host that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published_ports: Vec<PublishPort>,
    /// What it received, in bytes.
    pub rx_bytes: u64,
    /// In packets.
    pub rx_packets: u64,
    /// What it sent, in bytes.
    pub tx_bytes: u64,
    /// In packets.
    pub tx_packets: u64,
    /// What its egress rules let pass, and what none of them allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressCount>,
    /// Names that no egress rule allowed, and that were refused: those that it asked for last, at most some dozens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_names: Vec<RefusedName>,
    /// Questions for all other names that were refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused_other_names: u64,
    /// Where packets of TCP and UDP that no egress rule allowed were for in the last minute, such as `192.0.2.1:443/tcp`; some dozens at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_destinations: Vec<String>,
}

/// Whether there is nothing to show.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How often a container asked for a name that it may not ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedName {
    /// The name; a question mark stands for each character that names of hosts do not have.
    pub name: String,
    /// Questions for it; a program asks for each family of addresses.
    pub questions: u64,
}

/// How often a rule applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressCount {
    /// The rule; [`EVERYTHING_ELSE`](crate::egress::EVERYTHING_ELSE): what none of them allowed, and was refused.
    pub rule: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}
