//! What a container has of a network.

use std::net::{Ipv4Addr, Ipv6Addr};

use container_api::network;
use container_resource::egress::EgressRule;
use container_resource::mac_address::MacAddress;
use serde::{Deserialize, Serialize};

use crate::ports::published::Published;

/// A container's addresses and names, kept until they are released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Address, where the network has the family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// Hardware address.
    pub mac: MacAddress,
    /// Bytes of a packet.
    pub mtu: u32,
    /// Names under which others find it: lower case, no dot at the end.
    pub names: Vec<String>,
    /// Other networks that it is on: names there are its own to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Number that no other lease of the network has at the same time: names of what is made for it are made of it.
    pub number: u32,
    /// What it has while it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<Attached>,
}

/// What a container has while its machine is on the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// Interface name of its tap in the network's namespace.
    pub tap: String,
    /// Its open ports.
    #[serde(default)]
    pub ports: Vec<Published>,
    /// What it may reach outside of the network; none: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule>>,
    /// The network's own rules, within which those of the container are; none: they are the network's, or it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Vec<EgressRule>>,
}

impl Lease {
    /// The addresses with their prefixes, for a network with the given ones.
    pub fn addresses(&self, prefixes: (u8, u8)) -> network::Addresses {
        let text = |address: Option<String>, prefix: u8| {
            address.map_or_else(String::new, |address| format!("{address}/{prefix}"))
        };
        network::Addresses {
            ipv4: text(self.ipv4.map(|address| address.to_string()), prefixes.0),
            ipv6: text(self.ipv6.map(|address| address.to_string()), prefixes.1),
            mac: self.mac.to_string(),
            mtu: self.mtu,
            ..network::Addresses::default()
        }
    }
}
