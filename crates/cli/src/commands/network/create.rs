use clap::Args;
use container_api::api::CreateNetworkRequest;
use container_resource::network::{DEFAULT_MTU, DEFAULT_PLUGIN, NetworkConfiguration, NetworkMode};
use container_resource::{egress_policy, label, network_name, subnet};
use ipnet::{Ipv4Net, Ipv6Net};
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
    /// A rule is an address, a range of addresses (CIDR), a name or *.<name>, with or without :<port>[-<port>] and /tcp or /udp; an IPv6
    /// address with a port is in brackets. A rule with a name allows the addresses that the network's resolver has answered for this name,
    /// but no private ones and none of the host: for those write the address.
    /// A container's own rules narrow these: what it reaches, both allow.
    #[arg(long, value_name = "EGRESS", value_parser = policy)]
    egress: Vec<Policy>,

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
    #[arg(long, value_name = "CIDR", value_parser = subnet::ipv4)]
    subnet: Option<Ipv4Net>,

    /// IPv6 addresses of the network, as a CIDR (default: a free unique local one)
    #[arg(long, value_name = "CIDR", value_parser = subnet::ipv6)]
    subnet_v6: Option<Ipv6Net>,

    /// Name of the network
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
}

impl Create {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let egress = egress_policy::join(&self.egress).map_err(Failure::usage)?;
        if self.internal && egress.as_ref().is_some_and(|rules| !rules.is_empty()) {
            return Err(Failure::usage(
                "an internal network has no way out: --egress rules would lead nowhere; leave out --internal or --egress",
            ));
        }
        let mut mtu = DEFAULT_MTU;
        let mut options = std::collections::BTreeMap::new();
        for (key, value) in self.options {
            if key == "mtu" || key == "com.docker.network.driver.mtu" {
                let parsed = number(&value).filter(|mtu| (1280..=65535).contains(mtu));
                mtu = parsed.ok_or_else(|| {
                    Failure::usage(format_args!(
                        "invalid value for mtu: '{value}': a number from 1280 to 65535 is expected"
                    ))
                })?;
            } else if key == "conversations" {
                if number(&value).is_none() {
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
            egress,
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

/// A number of digits alone: the option is kept as it was given, and others read it.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `key=value`.
fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("<key>=<value> is expected".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}
