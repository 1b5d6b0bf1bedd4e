use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use clap::Args;
use container_resource::attachment::{self, Choice};
use container_resource::connectivity::Connectivity;
use container_resource::container::{
    AttachmentConfiguration, DnsConfiguration, HostEntry, PublishPort, PublishSocket,
};
use container_resource::egress::EgressRule;
use container_resource::{
    dns, egress_policy, host_entry, mac_address, network, publish, publish_socket,
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

    /// Name server of the container (default: its network, which knows the names of the other containers)
    #[arg(long = "dns", value_name = "ADDRESS", value_parser = dns::server)]
    dns_servers: Vec<String>,

    /// Domain of the container
    #[arg(long, value_name = "DOMAIN", value_parser = dns::domain)]
    dns_domain: Option<String>,

    /// Option of resolv.conf, such as ndots:1
    #[arg(long = "dns-option", visible_alias = "dns-opt", value_name = "OPTION", value_parser = dns::option)]
    dns_options: Vec<String>,

    /// Domain in which short names are looked up
    #[arg(long, value_name = "DOMAIN", value_parser = dns::search)]
    dns_search: Vec<String>,

    /// Destinations that the container may reach outside of its networks: none, or allow=<rule>[,<rule>]...; egress= of a --network
    /// overrides it. A name allows no private address
    #[arg(long, value_name = "EGRESS", value_parser = policy)]
    egress: Vec<Policy>,

    /// Port that the container's programs listen on, for --publish-all: <port>[-<port>][/<protocol>]
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
    /// [,egress=none|allow=<rule>]; none: no network; host: the ports that the container opens are opened on the host (default: default)
    ///
    /// With host the container is on the network `default`. When a program in it listens on a TCP port, or takes datagrams on a UDP port
    /// that no client is given, the port is opened on the host, too: at all addresses, or at a loopback address, as the program does. The
    /// host's own loopback is host.container.internal.
    ///
    /// With egress= the container reaches only those destinations outside of the network that a rule allows. A rule is an address, a range
    /// of addresses (CIDR), a name or *.<name>, with or without :<port>[-<port>] and /tcp or /udp; an IPv6 address with a port is in brackets.
    #[arg(long = "network", visible_alias = "net", value_name = "NETWORK", value_parser = attachment::parse,
          add = completion::networks())]
    networks: Vec<Choice>,

    /// Additional name of the container on its first network
    #[arg(long = "network-alias", visible_alias = "net-alias", value_name = "NAME", value_parser = attachment::alias)]
    aliases: Vec<String>,

    /// Do not write resolv.conf; keep the image's
    #[arg(long)]
    no_dns: bool,

    /// Publish a port of the container on the host: [[<address>:][<port>[-<port>]]:]<port>[-<port>][/tcp|udp]
    #[arg(short, long, value_name = "PORT", value_parser = publish::parse)]
    publish: Vec<PublishPort>,

    /// Publish each port that the image exposes on a free port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,

    /// Publish a Unix socket of the container on the host: <path on the host>:<path in the container>
    ///
    /// The socket is on the host while the container runs, and only its owner can connect. An old socket without a listener is replaced.
    /// The directory must exist.
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

    /// The networks; docker's flags of their own are for the first one, rules of what may be reached for each.
    fn choices(&self) -> Result<Vec<Choice>, Failure> {
        let mut choices = self.networks.clone();
        let own = self.ip.is_some()
            || self.ip6.is_some()
            || self.mac_address.is_some()
            || !self.egress.is_empty()
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
                "--egress, --ip, --ip6, --mac-address and --network-alias need a network of their own",
            ));
        };
        let AttachmentConfiguration { network, options } = &mut **first;
        one_of(&mut options.ipv4_address, self.ip, "ip", network)?;
        one_of(&mut options.ipv6_address, self.ip6, "ip6", network)?;
        let mac_address = self.mac_address.clone();
        one_of(
            &mut options.mac_address,
            mac_address,
            "mac-address",
            network,
        )?;
        attachment::add_aliases(options, self.aliases.iter().cloned()).map_err(Failure::usage)?;
        if let Some(rules) = egress_policy::join(&self.egress).map_err(Failure::usage)? {
            for choice in &mut choices {
                if let Choice::Network(network) = choice {
                    let egress = &mut network.options.egress;
                    egress.get_or_insert_with(|| rules.clone());
                }
            }
        }
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

/// What a network has by its own field, or by the flag of the same name, which may not say otherwise.
fn one_of<T: PartialEq + std::fmt::Display>(
    field: &mut Option<T>,
    flag: Option<T>,
    name: &str,
    network: &str,
) -> Result<(), Failure> {
    match (&field, flag) {
        (Some(field), Some(flag)) if *field != flag => Err(Failure::usage(format!(
            "--{name} {flag} contradicts --network {network}, which is given {field}"
        ))),
        (None, Some(flag)) => {
            *field = Some(flag);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What may be reached.
pub type Policy = std::sync::Arc<[EgressRule]>;

/// `none` or `allow=<rule>,…`.
pub fn policy(text: &str) -> Result<Policy, egress_policy::EgressPolicyError> {
    egress_policy::parse(text).map(Policy::from)
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
    fn aliases_are_counted_whichever_way_they_are_given() {
        let alias = |number: usize| format!("x{number}");
        let network = |count: usize| {
            let all = (0..count).map(|number| format!(",alias={}", alias(number)));
            "a".to_owned() + &all.collect::<String>()
        };
        let said = |own: usize, others: std::ops::Range<usize>| {
            let mut words = vec!["--network".to_owned(), network(own)];
            for number in others {
                words.extend(["--network-alias".to_owned(), alias(number)]);
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            connectivity(&words)
        };
        // The same one twice is one.
        let networks = said(40, 30..64).unwrap().networks("web");
        assert_eq!(networks[0].options.aliases.len(), 64);
        for (own, others) in [(40, 40..65), (0, 0..65), (64, 64..65)] {
            let error = format!("{:?}", said(own, others).unwrap_err());
            assert!(error.contains("at most 64 aliases"), "{error}");
        }
    }

    #[test]
    fn rules_of_what_may_be_reached_are_for_each_network() {
        let rules = |words: &[&str]| {
            let networks = connectivity(words).unwrap().networks("web");
            let rules = networks.into_iter().map(|one| one.options.egress);
            rules
                .map(|rules| rules.map(|rules| rules.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(rules(&["--egress", "none"]), [Some(0)]);
        let both = [
            "--network",
            "a",
            "--network",
            "b,egress=none",
            "--egress",
            "allow=192.0.2.1:443",
        ];
        assert_eq!(rules(&both), [Some(1), Some(0)]);
        assert_eq!(rules(&[]), [None]);
        assert!(connectivity(&["--network", "none", "--egress", "none"]).is_err());
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

    /// What stands in the way of `words`, which do not mean anything.
    fn mistake(words: &[&str]) -> String {
        let words = std::iter::once(&"run").chain(words);
        match Command::try_parse_from(words) {
            Ok(command) => {
                let said = command.flags.connectivity();
                match said.and_then(|_| command.flags.published_sockets()) {
                    Err(Failure::Usage(text)) => text,
                    other => panic!("{other:?}"),
                }
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_mistake_has_one_clear_answer() {
        let long = "x".repeat(64);
        let socket = format!("/tmp/{}:/s", "x".repeat(107));
        for (words, answer) in [
            (["--network", ""], "invalid network name ''"),
            (["--network", "Web"], "lower-case letters"),
            (["--network", "a/b"], "invalid network name 'a/b'"),
            (["--network", "../x"], "invalid network name '../x'"),
            (["--network", "a-"], "invalid network name 'a-'"),
            (["--network", long.as_str()], "1 to 63"),
            (["--network", "none,ip=10.0.0.2"], "'none' has no options"),
            (["--network", "host,ip=10.0.0.2"], "'host' has no options"),
            (
                ["--network", "container:web"],
                "a network stack, of its own",
            ),
            (["--network", "a,ip=10.0.0.300"], "an IPv4 address"),
            (["--network", "a,ip=0.0.0.0"], "an IPv4 address"),
            (["--network", "a,ip=10.0.0.2/24"], "an IPv4 address"),
            (["--network", "a,ip6=::1"], "an IPv6 address"),
            (["--network", "a,ip6=::ffff:10.0.0.1"], "an IPv6 address"),
            (
                ["--network", "a,mac=01:00:5e:00:00:01"],
                "a single interface",
            ),
            (
                ["--network", "a,mac=00:00:00:00:00:00"],
                "a single interface",
            ),
            (
                ["--network", "a,mac=f2:00"],
                "XX:XX:XX:XX:XX:XX is expected",
            ),
            (["--network", "a,mtu=68"], "1280 to 65535"),
            (["--network", "a,mtu=-1"], "1280 to 65535"),
            (["--network", "a,alias=a..b"], "a host name"),
            (["--network", "a,colour=red"], "unexpected key 'colour'"),
            (["--network", "a,egress=deny"], "none, or allow="),
            (
                ["--network", "a,egress=allow=10.0.0.0/33"],
                "invalid egress rule",
            ),
            (["--ip", "10.0.0.256"], "an IPv4 address"),
            (["--ip6", "10.0.0.1"], "an IPv6 address"),
            (["--mac-address", "zz"], "XX:XX:XX:XX:XX:XX is expected"),
            (["--network-alias", "a b"], "a host name"),
            (["--dns", "resolver"], "an IP address is expected"),
            (["--dns", "10.0.0.1%eth0"], "an IP address is expected"),
            (["--dns-search", "a..b"], "invalid domain 'a..b'"),
            (["--dns-domain", "-"], "invalid domain '-'"),
            (["--dns-option", "a b"], "one word"),
            (["--add-host", "db"], "<name>:<address> is expected"),
            (
                ["--add-host", "db:nowhere"],
                "an IP address or host-gateway",
            ),
            (["-p", "0:0"], "1 to 65535 is expected"),
            (["-p", "70000:80"], "1 to 65535 is expected"),
            (["-p", "90-80:80"], "it ends before it begins"),
            (["-p", "80-82:80-81"], "different lengths"),
            (["-p", "80:80/sctp"], "tcp or udp is expected"),
            (["-p", "::1:80:80"], "an IPv6 address in brackets"),
            (["-p", "nohost:80:80"], "an IP address of this host"),
            (["--expose", "0"], "1 to 65535 is expected"),
            (
                ["--publish-socket", "/tmp/a"],
                "<path on the host>:<path in the container>",
            ),
            (
                ["--publish-socket", "/tmp/a:b"],
                "an absolute path of a file",
            ),
            (["--publish-socket", socket.as_str()], "107 bytes"),
        ] {
            let said = mistake(&words);
            assert!(said.contains(answer), "{words:?}: {said}");
            assert!(said.lines().count() <= 4, "{words:?}: {said}");
        }
        for (words, answer) in [
            (
                &["--network", "none", "--network", "a"][..],
                "network none cannot be combined",
            ),
            (
                &["--network", "host", "--network", "a"],
                "network host cannot be combined",
            ),
            (
                &["--network", "host", "-p", "80"],
                "are opened on the host in any case",
            ),
            (
                &["--network", "host", "-P"],
                "are opened on the host in any case",
            ),
            (&["--network", "none", "-p", "80"], "without a network"),
            (
                &["--network", "none", "--add-host", "g:host-gateway"],
                "the host's address on a network",
            ),
            (&["--network", "a", "--network", "a"], "'a' is given twice"),
            (&["-p", "80:80", "-p", "80:81"], "may not overlap: 80"),
            (
                &["--network", "none", "--ip", "10.0.0.2"],
                "need a network of their own",
            ),
            (
                &["--network", "a,ip=10.0.0.2", "--ip", "10.0.0.3"],
                "--ip 10.0.0.3 contradicts --network a, which is given 10.0.0.2",
            ),
            (
                &["--network", "a,ip6=fd00::2", "--ip6", "fd00::3"],
                "--ip6 fd00::3 contradicts",
            ),
            (
                &[
                    "--network",
                    "a,mac=f2:00:00:00:00:01",
                    "--mac-address",
                    "f2:00:00:00:00:02",
                ],
                "--mac-address f2:00:00:00:00:02 contradicts",
            ),
            (
                &["--network", "none", "--network-alias", "db"],
                "need a network of their own",
            ),
            (
                &["--network", "host", "--network-alias", "db"],
                "need a network of their own",
            ),
            (&["--no-dns", "--dns", "10.0.0.1"], "--no-dns conflicts"),
            (
                &["--publish-socket", "/a:/b", "--publish-socket", "//a:/c"],
                "the socket /a of the host is given twice",
            ),
        ] {
            let said = mistake(words);
            assert!(said.contains(answer), "{words:?}: {said}");
        }
    }
}
