//! The network's configuration, checked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use container_resource::bundle::read_json;
use container_resource::network::{NetworkConfiguration, NetworkMode};
use ipnet::IpNet;

use crate::leases::subnet::Subnet;
use crate::leases::{SMALLEST_MTU, is_network};

/// The largest MTU of an interface, in bytes.
const LARGEST_MTU: u32 = 65535;

/// What is there where the kernel has IPv6; a network on another host does without.
const IPV6: &str = "/proc/sys/net/ipv6";

/// The option of a network that says how many conversations with the outside its containers have.
pub const CONVERSATIONS: &str = "conversations";

/// How many conversations the host's kernel keeps (`nf_conntrack_max`), which all programs of the host share.
const KEPT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// What it is where the kernel does not tell yet, on a small host.
const FEW: u32 = 65536;
/// One network has this part of it at most, and all networks of the host together that one.
const SHARE: u32 = 8;
const SHARE_OF_ALL: u32 = 2;

/// How many conversations the host's kernel keeps.
fn kept_conversations() -> u32 {
    let kept = std::fs::read_to_string(KEPT);
    let kept = kept.ok().and_then(|text| text.trim().parse().ok());
    kept.unwrap_or(FEW)
}

/// The most conversations with the outside that all networks of the host together have at once.
pub fn conversations_of_all() -> u32 {
    kept_conversations() / SHARE_OF_ALL
}

/// A configuration that a network can be made of.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// As it was asked for.
    pub asked: NetworkConfiguration,
    /// Its IPv4 addresses.
    pub ipv4: Option<Subnet<Ipv4Addr>>,
    /// Its IPv6 addresses.
    pub ipv6: Option<Subnet<Ipv6Addr>>,
    /// The most conversations with the outside that its containers together have at once.
    pub conversations: u32,
}

/// What a network has of one family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The subnet.
    pub subnet: IpNet,
    /// The network's own address.
    pub gateway: IpAddr,
    /// The host's.
    pub host: IpAddr,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It can't be read.
    #[error("cannot read network.json")]
    Read(#[source] io::Error),
    /// Not a name.
    #[error("invalid network name {0:?}")]
    Name(String),
    /// Too few addresses.
    #[error("the subnet {0} is too small: at least 8 addresses are needed")]
    Small(String),
    /// Neither family.
    #[error("the network has no subnet")]
    NoSubnet,
    /// Out of range.
    #[error("invalid MTU {0}: {SMALLEST_MTU} to {LARGEST_MTU} is expected")]
    Mtu(u32),
    /// No number.
    #[error("invalid option {CONVERSATIONS}={0}: a number is expected")]
    Conversations(String),
}

impl Configuration {
    /// That of the network whose state is in `directory`.
    pub fn load(directory: &Path) -> Result<Self, ConfigurationError> {
        let path = directory.join("network.json");
        Self::check(read_json(&path).map_err(ConfigurationError::Read)?)
    }

    fn check(asked: NetworkConfiguration) -> Result<Self, ConfigurationError> {
        // It is in rules and in the names of sockets.
        if !is_network(&asked.name) {
            return Err(ConfigurationError::Name(asked.name));
        }
        if !(SMALLEST_MTU..=LARGEST_MTU).contains(&asked.mtu) {
            return Err(ConfigurationError::Mtu(asked.mtu));
        }
        let small = |net: String| move || ConfigurationError::Small(net);
        let ipv4 = asked
            .ipv4_subnet
            .map(|net| Subnet::new(net).ok_or_else(small(net.to_string())));
        let ipv6 = asked
            .ipv6_subnet
            .map(|net| Subnet::new(net).ok_or_else(small(net.to_string())));
        let (ipv4, mut ipv6) = (ipv4.transpose()?, ipv6.transpose()?);
        if !Path::new(IPV6).exists() {
            ipv6 = None;
        }
        if ipv4.is_none() && ipv6.is_none() {
            return Err(ConfigurationError::NoSubnet);
        }
        let conversations = match asked.options.get(CONVERSATIONS) {
            Some(text) => text
                .parse()
                .map_err(|_| ConfigurationError::Conversations(text.clone()))?,
            None => kept_conversations() / SHARE,
        };
        Ok(Self {
            asked,
            ipv4,
            ipv6,
            conversations,
        })
    }

    /// Whether there is no way out.
    pub fn is_internal(&self) -> bool {
        self.asked.mode == NetworkMode::HostOnly
    }

    /// Its own address of each family that it has.
    pub fn gateways(&self) -> Vec<IpAddr> {
        let families = self.families();
        families.iter().map(|family| family.gateway).collect()
    }

    /// The families that it has.
    pub fn families(&self) -> Vec<Family> {
        let ipv4 = self
            .asked
            .ipv4_subnet
            .zip(self.ipv4)
            .map(|(net, subnet)| Family {
                subnet: net.trunc().into(),
                gateway: subnet.gateway().into(),
                host: subnet.host().into(),
            });
        let ipv6 = self
            .asked
            .ipv6_subnet
            .zip(self.ipv6)
            .map(|(net, subnet)| Family {
                subnet: net.trunc().into(),
                gateway: subnet.gateway().into(),
                host: subnet.host().into(),
            });
        ipv4.into_iter().chain(ipv6).collect()
    }

    /// Lengths of the subnets' prefixes.
    pub fn prefixes(&self) -> (u8, u8) {
        (
            self.asked.ipv4_subnet.map_or(0, |net| net.prefix_len()),
            self.asked.ipv6_subnet.map_or(0, |net| net.prefix_len()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        change: impl FnOnce(&mut NetworkConfiguration),
    ) -> Result<Configuration, ConfigurationError> {
        let text = r#"{"name": "a", "creationDate": "2026-01-02T03:04:05Z", "plugin": "p", "ipv4Subnet": "192.0.2.0/24"}"#;
        let mut asked = serde_json::from_str(text).unwrap();
        change(&mut asked);
        Configuration::check(asked)
    }

    #[test]
    fn what_can_be_made() {
        let found = check(|_| ()).unwrap();
        assert_eq!(found.prefixes(), (24, 0));
        assert_eq!(found.ipv4.unwrap().gateway().to_string(), "192.0.2.1");
    }

    #[test]
    fn what_cannot() {
        for name in ["", "../a", ".a", "a b", "a\"", &"a".repeat(64)] {
            assert!(matches!(
                check(|asked| asked.name = name.into()),
                Err(ConfigurationError::Name(_))
            ));
        }
        assert!(matches!(
            check(|asked| asked.mtu = 1279),
            Err(ConfigurationError::Mtu(_))
        ));
        let small = "192.0.2.0/30".parse().ok();
        assert!(matches!(
            check(|asked| asked.ipv4_subnet = small),
            Err(ConfigurationError::Small(_))
        ));
        assert!(matches!(
            check(|asked| asked.ipv4_subnet = None),
            Err(ConfigurationError::NoSubnet)
        ));
    }
}
