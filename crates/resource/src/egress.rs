//! Destinations that a container may reach outside of its networks: `--egress none|allow=RULE,…`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain_name;

/// The name of the count of what no rule allowed. It has a space, as no rule does.
pub const EVERYTHING_ELSE: &str = "everything else";

/// One destination that may be reached: a CIDR, a name or `*.name`, then `[:port[-last]][/tcp|/udp]`. An IPv6 network with a port is in
/// brackets: `[fd00::/8]:443`. Without a port and a protocol everything is meant; with a port alone, TCP and UDP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressRule {
    /// Where to.
    pub destination: Destination,
    /// The only ports; none: all.
    pub ports: Option<PortRange>,
    /// The only protocol; none: both where there are ports, else every one.
    pub protocol: Option<EgressProtocol>,
}

/// Ports, the last one included: from 1 to 65535, and no fewer than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EgressProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where a rule leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// Addresses; one address is a network of its full length.
    Network(IpNet),
    /// The addresses that a name resolves to. Lower case, no dot at its end.
    Name(String),
    /// The same for every name below this one, itself not included: `*.example.org`.
    Below(String),
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// It is none of the forms.
    #[error(
        "invalid egress rule '{0}': a CIDR, a name or *.name is expected, with or without :port, :first-last, /tcp and /udp, such as \
         192.0.2.0/24, 10.0.0.0/8:8000-8999/tcp, [2001:db8::/32]:443 or *.example.org:443"
    )]
    Form(String),
    /// Bits behind the prefix are set, so that more would be allowed than the address that stands there: the rule, and the network that it would
    /// be.
    #[error(
        "invalid egress rule '{0}': it has bits behind its prefix; {1} is that whole network, and an address without a prefix is that address alone"
    )]
    HostBits(String, IpNet),
}

impl Destination {
    /// Whether `address` is one that the rule is about, by its number.
    pub fn has(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&address))
    }

    /// Whether `name`, in lower case and without a dot at its end, is one that the rule is about.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Network(_) => false,
            Self::Name(own) => own == name,
            Self::Below(own) => name
                .strip_suffix(own.as_str())
                .is_some_and(|front| front.len() > 1 && front.ends_with('.')),
        }
    }
}

impl FromStr for EgressRule {
    type Err = EgressError;

    fn from_str(text: &str) -> Result<Self, EgressError> {
        let rule = parse(text).ok_or_else(|| EgressError::Form(text.to_owned()))?;
        match rule.destination {
            Destination::Network(network) if network.addr() != network.network() => {
                Err(EgressError::HostBits(text.to_owned(), network.trunc()))
            }
            _ => Ok(rule),
        }
    }
}

fn parse(text: &str) -> Option<EgressRule> {
    let (text, protocol) = protocol(text);
    let (destination, ports) = if let Some(destination) = network(text) {
        (destination, None)
    } else if let Some(rest) = text.strip_prefix('[') {
        let (inner, rest) = rest.split_once(']')?;
        // The length of the prefix may stand in the brackets or behind them.
        let (length, ports) = match rest.split_once(':') {
            Some((length, ports)) => (length, Some(PortRange::parse(ports)?)),
            None => (rest, None),
        };
        if !length.is_empty() && !length.starts_with('/') {
            return None;
        }
        let destination = network(&format!("{inner}{length}"));
        (destination.filter(|_| inner.contains(':'))?, ports)
    } else {
        let (destination, ports) = match text.split_once(':') {
            Some((destination, ports)) => (destination, Some(PortRange::parse(ports)?)),
            None => (text, None),
        };
        (network(destination).or_else(|| name(destination))?, ports)
    };
    Some(EgressRule {
        destination,
        ports,
        protocol,
    })
}

/// What stands before the protocol, and that, if one is named.
fn protocol(text: &str) -> (&str, Option<EgressProtocol>) {
    for protocol in [EgressProtocol::Tcp, EgressProtocol::Udp] {
        if let Some((before, word)) = text.rsplit_once('/') {
            if word.eq_ignore_ascii_case(protocol.name()) {
                return (before, Some(protocol));
            }
        }
    }
    (text, None)
}

impl EgressProtocol {
    /// As people and rules of the kernel have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl PortRange {
    /// From `first` to `last`; nothing where that is no range, or has the port 0.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (0 < first && first <= last).then_some(Self { first, last })
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(port(first)?, port(last)?)
    }
}

impl fmt::Display for PortRange {
    /// `80` or `8000-8999`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// An address or a CIDR.
fn network(text: &str) -> Option<Destination> {
    let network = match text.parse::<IpAddr>() {
        // No packet has an address of IPv4 in the form of IPv6 (RFC 4291 section 2.5.5.2).
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => text.parse().ok()?,
    };
    Some(Destination::Network(network))
}

fn name(text: &str) -> Option<Destination> {
    match text.strip_prefix("*.") {
        Some(name) => domain_name::parse(name).map(Destination::Below),
        None => domain_name::parse(text).map(Destination::Name),
    }
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destination = match &self.destination {
            Destination::Network(network) => network.to_string(),
            Destination::Name(name) => name.clone(),
            Destination::Below(name) => format!("*.{name}"),
        };
        match self.ports {
            None => f.write_str(&destination)?,
            Some(ports) if destination.contains(':') => write!(f, "[{destination}]:{ports}")?,
            Some(ports) => write!(f, "{destination}:{ports}")?,
        }
        self.protocol
            .map_or(Ok(()), |protocol| write!(f, "/{}", protocol.name()))
    }
}

impl Serialize for EgressRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EgressRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(text: &str) -> EgressRule {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_has_one_spelling() {
        for (typed, shown) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.0/24:53", "192.0.2.0/24:53"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
            ("[2001:db8::/32]", "2001:db8::/32"),
            ("Packages.Example.ORG.", "packages.example.org"),
            ("*.example.org:443", "*.example.org:443"),
            ("localhost:1", "localhost:1"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("10.0.0.0/8:8000-8999", "10.0.0.0/8:8000-8999"),
            ("10.0.0.0/8:1-65535/TCP", "10.0.0.0/8:1-65535/tcp"),
            ("a.example:53-53/udp", "a.example:53/udp"),
            ("10.0.0.0/8/udp", "10.0.0.0/8/udp"),
            ("*.example.org/tcp", "*.example.org/tcp"),
            ("2001:db8::/32/udp", "2001:db8::/32/udp"),
            ("[2001:db8::/32]/udp", "2001:db8::/32/udp"),
            ("[2001:db8::1]:443/tcp", "[2001:db8::1/128]:443/tcp"),
            ("[2001:db8::]/32:8000-8001", "[2001:db8::/32]:8000-8001"),
        ] {
            assert_eq!(rule(typed).to_string(), shown);
            assert_eq!(rule(shown), rule(typed));
        }
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            ":",
            ":443",
            "a:",
            "a:0",
            "a:65536",
            "a:0-1",
            "a:2-1",
            "a:1-",
            "a:-1",
            "a:1-2-3",
            "a:1-65536",
            "a:1/icmp",
            "a:1/",
            "a/1",
            "a:1/tcp/udp",
            "a/tcp:1",
            "/tcp",
            "tcp/",
            "[2001:db8::/32]/32:1",
            "[2001:db8::]/129:1",
            "[a.example]:1",
            "[]:1",
            "[::1]:",
            "a:+1",
            "a:1:2",
            "1.2.3.4/33",
            "1.2.3",
            "*",
            "*.",
            "a.*.b",
            "**.a",
            "-a.b",
            "a..b",
            "a b",
            "ä.org",
            "[1.2.3.4]:1",
            "[::1",
            "[::1]1",
            "::1/129",
            "a/24",
            "a\n",
        ] {
            assert!(text.parse::<EgressRule>().is_err(), "{text:?}");
        }
        assert!(
            format!("{}.org", "a".repeat(64))
                .parse::<EgressRule>()
                .is_err()
        );
    }

    #[test]
    fn an_address_is_not_widened_without_a_word() {
        for (text, network) in [
            ("192.0.2.4/24", "192.0.2.0/24"),
            ("192.0.2.4/24:80", "192.0.2.0/24"),
            ("[2001:db8::1/32]:443", "2001:db8::/32"),
            ("2001:db8::1/64/udp", "2001:db8::/64"),
        ] {
            let error = text.parse::<EgressRule>().unwrap_err();
            let network = network.parse().unwrap();
            assert_eq!(error, EgressError::HostBits(text.into(), network));
        }
    }

    #[test]
    fn a_star_covers_what_is_below() {
        let below = rule("*.example.org").destination;
        assert!(below.covers("a.example.org") && below.covers("a.b.example.org"));
        assert!(
            !below.covers("example.org")
                && !below.covers("badexample.org")
                && !below.covers(".example.org")
        );
        assert!(rule("example.org").destination.covers("example.org"));
    }

    prop_compose! {
        fn destination()(
            kind in 0..4,
            address: [u8; 16],
            length in 0..=128_u8,
            name in "[a-z]{1,8}(\\.[a-z][a-z0-9]{0,7}){0,3}",
        ) -> String {
            let [a, b, c, d, ..] = address;
            let network = |address: IpAddr, length| IpNet::new(address, length).unwrap().trunc();
            match kind {
                0 => network([a, b, c, d].into(), length % 33).to_string(),
                1 => format!("[{}]", network(address.into(), length)),
                2 => name,
                _ => format!("*.{name}"),
            }
        }
    }

    proptest! {
        /// Each part is what was written, whatever the others are.
        #[test]
        fn a_rule_has_the_parts_it_was_made_of(
            destination in destination(),
            ports in proptest::option::of((1..=u16::MAX, 0..=u16::MAX)),
            protocol in proptest::option::of(prop_oneof![Just(EgressProtocol::Tcp), Just(EgressProtocol::Udp)]),
        ) {
            let ports = ports.map(|(first, more)| PortRange {
                first,
                last: first.saturating_add(more),
            });
            let text = [
                destination.clone(),
                ports.map_or_else(String::new, |ports| format!(":{ports}")),
                protocol.map_or_else(String::new, |protocol| format!("/{}", protocol.name())),
            ]
            .concat();
            let rule = rule(&text);
            prop_assert_eq!((rule.ports, rule.protocol), (ports, protocol), "{}", text);
            prop_assert_eq!(rule.destination, self::rule(&destination).destination);
        }

        #[test]
        fn whatever_parses_is_shown_as_it_parses(text in "\\PC{0,40}|[*0-9a-f.:\\[\\]/-]{0,20}|[*0-9a-f.:\\[\\]/-]{0,12}(/tcp|/udp)?") {
            if let Ok(rule) = text.parse::<EgressRule>() {
                prop_assert_eq!(rule.to_string().parse::<EgressRule>().unwrap(), rule);
            }
        }
    }
}
