use std::net::IpAddr;

use clap::Args;
use container_api::api::CreateNetworkRequest;
use container_resource::network::{DEFAULT_MTU, DEFAULT_PLUGIN, NetworkConfiguration, NetworkMode};
use container_resource::{label, network_name};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{Policy, policy};
use crate::output;

/// Create a network
///
/// Containers on one network reach each other by address and by name; those on different ones do not. Prints the name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container network create backend
  container network create --subnet 10.9.0.0/24 --internal db
  container network create --egress allow=packages.example.org:443 build")]
pub struct Create {
    /// Destinations that containers may reach outside of the network: none, or allow=<rule>[,<rule>]... (default: everything)
    ///
    /// A rule is an address, a range of addresses (CIDR), a name or *.<name>, with or without :<port>. A rule with a name allows the
    /// addresses that the network's resolver has answered for this name.
    #[arg(long, value_name = "EGRESS", value_parser = policy)]
    egress: Option<Policy>,

    /// Docker's word for the plugin: bridge
    #[arg(short, long, value_name = "DRIVER", value_parser = driver)]
    driver: Option<()>,

    /// Give the network no way out: its containers reach each other and nothing else
    #[arg(long)]
    internal: bool,

    /// Set a label
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = label::parse)]
    labels: Vec<(String, String)>,

    /// Set an option of the plugin, such as mtu=<bytes>
    ///
    /// conversations=<number> limits how many connections with the outside all its containers together have at once (default: an eighth of
    /// the connections that the host's kernel can track).
    #[arg(short, long = "option", visible_alias = "opt", value_name = "KEY=VALUE", value_parser = option)]
    options: Vec<(String, String)>,

    /// Plugin that serves the network
    #[arg(long, value_name = "PLUGIN", default_value = DEFAULT_PLUGIN, hide_default_value = true)]
    plugin: String,

    /// IPv4 addresses of the network, as a CIDR (default: a free one of 192.168.64.0/24 and above)
    #[arg(long, value_name = "CIDR", value_parser = ipv4_subnet)]
    subnet: Option<Ipv4Net>,

    /// IPv6 addresses of the network, as a CIDR (default: a free unique local one)
    #[arg(long, value_name = "CIDR", value_parser = ipv6_subnet)]
    subnet_v6: Option<Ipv6Net>,

    /// Name of the network
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
}

impl Create {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        if self.internal && self.egress.as_ref().is_some_and(|rules| !rules.is_empty()) {
            return Err(Failure::usage(
                "an internal network has no way out: --egress rules would lead nowhere; leave out --internal or --egress",
            ));
        }
        let mut mtu = DEFAULT_MTU;
        let mut options = std::collections::BTreeMap::new();
        for (key, value) in self.options {
            if key == "mtu" || key == "com.docker.network.driver.mtu" {
                let parsed = value
                    .parse()
                    .ok()
                    .filter(|mtu| (1280..=65535).contains(mtu));
                mtu = parsed.ok_or_else(|| {
                    Failure::usage(format_args!(
                        "invalid value for mtu: '{value}': a number from 1280 to 65535 is expected"
                    ))
                })?;
            } else if key == "conversations" {
                if value.parse::<u32>().is_err() {
                    return Err(Failure::usage(format_args!(
                        "invalid value for conversations: '{value}': a number is expected"
                    )));
                }
            } else if self.plugin == DEFAULT_PLUGIN {
                return Err(Failure::usage(format_args!(
                    "unknown option '{key}' of a network: mtu and conversations are known"
                )));
            }
            options.insert(key, value);
        }
        let configuration = NetworkConfiguration {
            name: self.name.clone(),
            creation_date: Timestamp::now(),
            mode: if self.internal {
                NetworkMode::HostOnly
            } else {
                NetworkMode::Nat
            },
            ipv4_subnet: self.subnet,
            ipv6_subnet: self.subnet_v6,
            mtu,
            egress: self.egress.map(|rules| rules.to_vec()),
            labels: self.labels.into_iter().collect(),
            plugin: self.plugin,
            options,
        };
        let request = CreateNetworkRequest {
            configuration: serde_json::to_vec(&configuration)?.into(),
        };
        context.networks()?.create(request).await?;
        output::write_lines([self.name])
    }
}

fn name(text: &str) -> Result<String, network_name::NetworkNameError> {
    network_name::validate(text).map(|()| text.to_owned())
}

/// What docker calls a driver: there is one of its names that means the same here.
fn driver(text: &str) -> Result<(), String> {
    if matches!(text, "bridge" | "nat" | DEFAULT_PLUGIN) {
        return Ok(());
    }
    Err(format!(
        "there is no network driver '{text}': bridge is one, and plugins are chosen with --plugin; a container is on none with \
         `run --network none`, and has the host's ports with `run --network host`"
    ))
}

/// `key=value`.
fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("<key>=<value> is expected".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn ipv4_subnet(text: &str) -> Result<Ipv4Net, String> {
    match subnet(text)? {
        IpNet::V4(subnet) => Ok(subnet),
        IpNet::V6(_) => Err("an IPv6 network is given with --subnet-v6".to_owned()),
    }
}

fn ipv6_subnet(text: &str) -> Result<Ipv6Net, String> {
    match subnet(text)? {
        IpNet::V6(subnet) => Ok(subnet),
        IpNet::V4(_) => Err("an IPv4 network is given with --subnet".to_owned()),
    }
}

/// A network with room for a gateway and a container, whose address has no bits behind its prefix.
fn subnet(text: &str) -> Result<IpNet, String> {
    let parsed: IpNet = text
        .parse()
        .map_err(|_| "a network such as 10.9.0.0/24 or fd00:9::/64 is expected".to_owned())?;
    if parsed.addr() != parsed.network() {
        return Err(format!(
            "{text} has bits behind its prefix: {} is meant",
            parsed.trunc()
        ));
    }
    let (shortest, longest) = match parsed {
        IpNet::V4(_) => (8, 29),
        IpNet::V6(_) => (16, 120),
    };
    if !(shortest..=longest).contains(&parsed.prefix_len()) {
        return Err(format!(
            "a prefix of {shortest} to {longest} bits is expected"
        ));
    }
    let usable = match parsed.network() {
        IpAddr::V4(address) => {
            !(address.is_loopback()
                || address.is_multicast()
                || address.is_link_local()
                || address.octets()[0] == 0
                || address.octets()[0] >= 240)
        }
        IpAddr::V6(address) => {
            !(address.is_loopback()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || address.is_unspecified())
        }
    };
    if usable {
        Ok(parsed)
    } else {
        Err("no addresses that hosts can have".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_checked() {
        assert!(ipv4_subnet("10.9.0.0/24").is_ok() && ipv6_subnet("fd00:9::/64").is_ok());
        for text in [
            "",
            "10.9.0.0",
            "10.9.0.1/24",
            "10.9.0.0/30",
            "0.0.0.0/0",
            "127.0.0.0/8",
            "224.0.0.0/24",
            "169.254.0.0/16",
            "fd00::/64",
        ] {
            assert!(ipv4_subnet(text).is_err(), "{text}");
        }
        for text in [
            "fe80::/64",
            "ff02::/64",
            "fd00::1/64",
            "fd00::/127",
            "10.9.0.0/24",
        ] {
            assert!(ipv6_subnet(text).is_err(), "{text}");
        }
    }
}
