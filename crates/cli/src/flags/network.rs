use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use clap::Args;
use container_resource::attachment::{self, Choice};
use container_resource::connectivity::Connectivity;
use container_resource::container::{DnsConfiguration, HostEntry, PublishPort, PublishSocket};
use container_resource::{
    dns, domain_name, host_entry, mac_address, network, publish, publish_socket,
};

use crate::completion;
use crate::failure::Failure;

/// Networks of a container, and what leads into it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network options")]
pub struct NetworkFlags {
    /// Add a line to /etc/hosts: <name>:<address>; host-gateway stands for the address of the host
    #[arg(long = "add-host", value_name = "HOST", value_parser = host_entry::parse)]
    hosts: Vec<HostEntry>,

    /// Name server of the container (default: its network, which knows the other containers)
    #[arg(long = "dns", value_name = "ADDRESS", value_parser = dns::server)]
    dns_servers: Vec<String>,

    /// Domain of the container
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    dns_domain: Option<String>,

    /// Option of resolv.conf, such as ndots:1
    #[arg(long = "dns-option", visible_alias = "dns-opt", value_name = "OPTION", value_parser = dns::option)]
    dns_options: Vec<String>,

    /// Domain that short names are tried in
    #[arg(long, value_name = "DOMAIN", value_parser = dns::search)]
    dns_search: Vec<String>,

    /// Port that the container's programs listen at, for --publish-all: <port>[-<port>][/<protocol>]
    #[arg(long, value_name = "PORT", value_parser = publish::exposed)]
    expose: Vec<PublishPort>,

    /// IPv4 address on the first network (default: a free one)
    #[arg(long, value_name = "ADDRESS", value_parser = attachment::ipv4)]
    ip: Option<Ipv4Addr>,

    /// IPv6 address on the first network (default: a free one)
    #[arg(long, value_name = "ADDRESS", value_parser = attachment::ipv6)]
    ip6: Option<Ipv6Addr>,

    /// MAC address on the first network
    #[arg(long, value_name = "ADDRESS", value_parser = mac_address::parse)]
    mac_address: Option<String>,

    /// Network of the container: <name>[,ip=<address>][,ip6=<address>][,mac=<address>][,mtu=<bytes>][,alias=<name>]
    /// [,egress=none|allow=<rule>]; none stands for no network (default: default)
    ///
    /// With egress= the container reaches nothing outside of the network but what its rules allow: an address or a network
    /// of addresses, a name or *.<name>, each with or without :<port>.
    #[arg(long = "network", visible_alias = "net", value_name = "NETWORK", value_parser = attachment::parse,
          add = completion::networks())]
    networks: Vec<Choice>,

    /// Further name of the container on its first network
    #[arg(long = "network-alias", visible_alias = "net-alias", value_name = "NAME", value_parser = attachment::alias)]
    aliases: Vec<String>,

    /// Write no resolv.conf: the image's stays
    #[arg(long)]
    no_dns: bool,

    /// Publish a port of the container at the host: [[<address>:][<port>[-<port>]]:]<port>[-<port>][/tcp|udp]
    #[arg(short, long, value_name = "PORT", value_parser = publish::parse)]
    publish: Vec<PublishPort>,

    /// Publish each port that the image exposes at a free one of the host
    #[arg(short = 'P', long)]
    publish_all: bool,

    /// Publish a Unix socket of the container at the host: <path on the host>:<path in the container>
    ///
    /// The host's socket is there while the container runs, for its owner alone. A socket that nobody listens at any more is
    /// replaced; the directory must exist.
    #[arg(long = "publish-socket", value_name = "SOCKET", value_parser = publish_socket::parse)]
    sockets: Vec<PublishSocket>,
}

impl NetworkFlags {
    /// What they say together.
    pub fn connectivity(&self) -> Result<Connectivity, Failure> {
        let connectivity = Connectivity {
            choices: self.choices()?,
            ports: self.publish.clone(),
            publish_all: self.publish_all,
            exposed: self.expose.clone(),
            dns: self.dns()?,
            hosts: self.hosts.clone(),
        };
        connectivity.check().map_err(Failure::usage_chain)?;
        Ok(connectivity)
    }

    /// The sockets, with the host's paths as they are from anywhere.
    pub fn published_sockets(&self) -> Result<Vec<PublishSocket>, Failure> {
        let current = std::env::current_dir()
            .context("where this is")
            .map_err(Failure::usage_chain)?;
        publish_socket::resolve(&self.sockets, &current).map_err(Failure::usage_chain)
    }

    /// The networks; docker's flags of their own are for the first one.
    fn choices(&self) -> Result<Vec<Choice>, Failure> {
        let mut choices = self.networks.clone();
        let own = self.ip.is_some()
            || self.ip6.is_some()
            || self.mac_address.is_some()
            || !self.aliases.is_empty();
        if !own {
            return Ok(choices);
        }
        if choices.is_empty() {
            let default = attachment::plain(network::DEFAULT);
            choices.push(Choice::Network(Box::new(default)));
        }
        let Some(Choice::Network(first)) = choices.first_mut() else {
            return Err(Failure::usage(
                "--ip, --ip6, --mac-address and --network-alias need a network",
            ));
        };
        let options = &mut first.options;
        options.ipv4_address = self.ip.or(options.ipv4_address);
        options.ipv6_address = self.ip6.or(options.ipv6_address);
        options.mac_address = self.mac_address.clone().or(options.mac_address.take());
        options.aliases.extend(self.aliases.iter().cloned());
        Ok(choices)
    }

    fn dns(&self) -> Result<Option<DnsConfiguration>, Failure> {
        let said = !self.dns_servers.is_empty()
            || self.dns_domain.is_some()
            || !self.dns_search.is_empty()
            || !self.dns_options.is_empty();
        match (self.no_dns, said) {
            (true, true) => Err(Failure::usage(
                "--no-dns conflicts with the other --dns flags",
            )),
            (true, false) => Ok(None),
            (false, _) => Ok(Some(DnsConfiguration {
                nameservers: self.dns_servers.clone(),
                domain: self.dns_domain.clone(),
                search_domains: self
                    .dns_search
                    .iter()
                    .filter(|domain| !domain.is_empty())
                    .cloned()
                    .collect(),
                options: self.dns_options.clone(),
            })),
        }
    }
}

fn domain(text: &str) -> Result<String, String> {
    domain_name::parse(text).ok_or_else(|| format!("invalid domain '{text}'"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        flags: NetworkFlags,
    }

    fn connectivity(words: &[&str]) -> Result<Connectivity, Failure> {
        let words = std::iter::once(&"run").chain(words);
        Command::try_parse_from(words).unwrap().flags.connectivity()
    }

    #[test]
    fn docker_s_flags_are_for_the_first_network() {
        let said = connectivity(&[
            "--network",
            "a,alias=x",
            "--network",
            "b",
            "--ip",
            "10.0.0.9",
            "--net-alias",
            "y",
        ]);
        let networks = said.unwrap().networks("web");
        assert_eq!(networks[0].options.ipv4_address, Some([10, 0, 0, 9].into()));
        assert_eq!(networks[0].options.aliases, ["x", "y"]);
        assert_eq!(networks[1].options.ipv4_address, None);
        let networks = connectivity(&["--ip", "10.0.0.9"]).unwrap().networks("web");
        assert!(networks[0].network == "default" && !networks[0].options.implied);
        assert!(connectivity(&["--network", "none", "--ip", "10.0.0.9"]).is_err());
    }

    #[test]
    fn dns_is_written_unless_it_is_not_wanted() {
        assert!(connectivity(&["--no-dns"]).unwrap().dns.is_none());
        assert!(connectivity(&["--no-dns", "--dns", "192.0.2.1"]).is_err());
        let dns = connectivity(&[
            "--dns",
            "192.0.2.1",
            "--dns-search",
            ".",
            "--dns-opt",
            "ndots:1",
        ]);
        let dns = dns.unwrap().dns.unwrap();
        assert_eq!((dns.nameservers.len(), dns.search_domains.len()), (1, 0));
    }
}
