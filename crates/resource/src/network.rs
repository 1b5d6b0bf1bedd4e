//! The configuration of a network.

use std::collections::BTreeMap;

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::egress::EgressRule;

/// The network that containers are on unless they ask for another.
pub const DEFAULT: &str = "default";
/// The word for no network; no network is called so.
pub const NONE: &str = "none";
/// The program that serves a network unless another is asked for.
pub const DEFAULT_PLUGIN: &str = "container-network-bridge";
/// Bytes of a packet, unless something else is asked for.
pub const DEFAULT_MTU: u32 = 1500;

/// Everything that was asked for when the network was created: `networks/<name>/network.json`. Its process reads it, and
/// nothing changes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfiguration {
    /// The network's name.
    pub name: String,
    /// When it was made.
    pub creation_date: Timestamp,
    /// Whether there is a way out.
    #[serde(default)]
    pub mode: NetworkMode,
    /// IPv4 addresses of its containers; none: it has no IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_subnet: Option<Ipv4Net>,
    /// The same for IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_subnet: Option<Ipv6Net>,
    /// Bytes of a packet, 1280 to 65535.
    #[serde(default = "default_mtu")]
    pub mtu: u32,
    /// What its containers may reach outside of it; none: everything, an empty list: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule>>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The program that serves it.
    pub plugin: String,
    /// The program's own options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// Whether a network leads out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetworkMode {
    /// To wherever the host gets, under the host's address.
    #[default]
    Nat,
    /// Nowhere: its containers reach each other (`--internal`).
    HostOnly,
}

fn default_mtu() -> u32 {
    DEFAULT_MTU
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_need_not_be_there() {
        let text = r#"{"name": "a", "creationDate": "2026-01-02T03:04:05Z", "plugin": "container-network-bridge",
            "ipv4Subnet": "192.168.64.0/24"}"#;
        let configuration: NetworkConfiguration = serde_json::from_str(text).unwrap();
        assert_eq!(configuration.mode, NetworkMode::Nat);
        assert_eq!((configuration.mtu, configuration.egress), (1500, None));
        let internal: NetworkMode = serde_json::from_str("\"hostOnly\"").unwrap();
        assert_eq!(internal, NetworkMode::HostOnly);
    }
}
