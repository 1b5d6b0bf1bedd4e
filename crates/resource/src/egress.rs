//! Destinations that a container may reach outside of its networks: `--egress none|allow=RULE,…`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain_name;

/// The name of the count of what no rule allowed. It has a space, as no rule does.
pub const EVERYTHING_ELSE: &str = "everything else";

/// One destination that may be reached: `CIDR[:port]`, `name[:port]` or `*.name[:port]`. An IPv6 network with a port is in
/// brackets: `[fd00::/8]:443`. Without a port every protocol and port is meant; with one, TCP and UDP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressRule {
    /// Where to.
    pub destination: Destination,
    /// The only port, never 0; none: all.
    pub port: Option<u16>,
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

/// Not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid egress rule '{0}': CIDR[:port], name[:port] or *.name[:port] is expected, such as 192.0.2.0/24, \
     [2001:db8::/32]:443 or *.example.org:443"
)]
pub struct EgressError(String);

impl Destination {
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
        parse(text).ok_or_else(|| EgressError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<EgressRule> {
    if let Some(destination) = network(text) {
        return Some(EgressRule {
            destination,
            port: None,
        });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        let destination = network(inner).filter(|_| inner.contains(':'))?;
        let port = match port {
            "" => None,
            port => Some(self::port(port.strip_prefix(':')?)?),
        };
        return Some(EgressRule { destination, port });
    }
    let (destination, port) = match text.split_once(':') {
        Some((destination, port)) => (destination, Some(self::port(port)?)),
        None => (text, None),
    };
    let destination = network(destination).or_else(|| name(destination))?;
    Some(EgressRule { destination, port })
}

/// An address or a CIDR; bits beyond its prefix are taken for zero.
fn network(text: &str) -> Option<Destination> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?.trunc(),
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
    text.parse().ok().filter(|port| digits && *port > 0)
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destination = match &self.destination {
            Destination::Network(network) => network.to_string(),
            Destination::Name(name) => name.clone(),
            Destination::Below(name) => format!("*.{name}"),
        };
        match self.port {
            None => f.write_str(&destination),
            Some(port) if destination.contains(':') => write!(f, "[{destination}]:{port}"),
            Some(port) => write!(f, "{destination}:{port}"),
        }
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
            ("192.0.2.7/24:53", "192.0.2.0/24:53"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
            ("[2001:db8::/32]", "2001:db8::/32"),
            ("Packages.Example.ORG.", "packages.example.org"),
            ("*.example.org:443", "*.example.org:443"),
            ("localhost:1", "localhost:1"),
            ("0.0.0.0/0", "0.0.0.0/0"),
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

    proptest! {
        #[test]
        fn whatever_parses_is_shown_as_it_parses(text in "\\PC{0,40}|[*0-9a-f.:\\[\\]/-]{0,20}") {
            if let Ok(rule) = text.parse::<EgressRule>() {
                prop_assert_eq!(rule.to_string().parse::<EgressRule>().unwrap(), rule);
            }
        }
    }
}
