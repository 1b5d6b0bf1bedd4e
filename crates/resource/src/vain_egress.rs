//! Egress rules that let nothing out, whatever is sent: they are refused where they are typed, as whoever types one means something else.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::container::DnsConfiguration;
use crate::dns_domain::{HOST, is_host};
use crate::egress::{Destination, EgressRule};
use crate::host_entry::HOST_GATEWAY;

/// Under this domain there are the networks' own names alone, and of those the host's is the one that leads out.
const OWN_DOMAIN: &str = ".container.internal";

/// A rule that never counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("egress rule '{rule}' can never match: {why}")]
pub struct VainError {
    rule: String,
    why: &'static str,
}

/// Whether some packet may be one that `rule` allows.
///
/// # Errors
/// The reason why there is none, and what may have been meant.
pub fn check(rule: &EgressRule) -> Result<(), VainError> {
    let why = match &rule.destination {
        Destination::Network(network) => nowhere(*network),
        Destination::Name(name) => nobody(name),
        Destination::Below(name) => {
            let below = format!("x.{name}");
            // The host's names are below, too.
            nobody(&below).filter(|_| format!(".{name}") != OWN_DOMAIN)
        }
    };
    let rule = || rule.to_string();
    why.map_or(Ok(()), |why| Err(VainError { rule: rule(), why }))
}

/// The first of `rules` for a name that is never learned, as a container with `dns` asks other name servers than the network's: what they
/// answer the network does not see. The host's names stand for known addresses.
pub fn unlearned<'r>(dns: &DnsConfiguration, rules: &'r [EgressRule]) -> Option<&'r EgressRule> {
    let is_learned = |rule: &&EgressRule| match &rule.destination {
        Destination::Network(_) => false,
        Destination::Name(name) => !is_host(name),
        Destination::Below(_) => !rule.destination.covers(HOST),
    };
    let is_asked_elsewhere = !dns.nameservers.is_empty();
    rules
        .iter()
        .find(|rule| is_asked_elsewhere && is_learned(rule))
}

/// Why a name is not asked for.
fn nobody(name: &str) -> Option<&'static str> {
    if name == "localhost" || name.ends_with(".localhost") {
        return Some(
            "localhost is the container itself; what listens at the host's loopback is host.container.internal",
        );
    }
    if name == HOST_GATEWAY {
        return Some("in a rule the host is host.container.internal");
    }
    if name == "any" || name == "all" {
        return Some("every address is 0.0.0.0/0,::/0; without rules everything is allowed");
    }
    if !name.contains('.') {
        return Some(
            "a name of one part is a container's, and containers of one network reach each other without a rule; give a host's whole name, \
             such as registry.example.org, or its address",
        );
    }
    (name.ends_with(OWN_DOMAIN) && name != HOST)
        .then_some("below container.internal only host.container.internal leads out of a network")
}

/// Why no packet leaves for any address of `network`.
fn nowhere(network: IpNet) -> Option<&'static str> {
    let is_within = |outer: &str| {
        let outer: Option<IpNet> = outer.parse().ok();
        outer.is_some_and(|outer| outer.contains(&network))
    };
    let is_one = |address: &IpAddr| {
        network.addr() == *address && network.prefix_len() == network.max_prefix_len()
    };
    if is_within("127.0.0.0/8") || is_one(&Ipv6Addr::LOCALHOST.into()) {
        return Some(
            "loopback addresses are the container's own; what listens at the host's is host.container.internal",
        );
    }
    if is_within("169.254.0.0/16") || is_within("fe80::/10") {
        return Some("link-local addresses are never reached from a network");
    }
    if is_within("224.0.0.0/4") || is_within("255.255.255.255/32") || is_within("ff00::/8") {
        return Some("multicast and broadcast do not leave a network");
    }
    if is_within("0.0.0.0/8") || is_one(&Ipv6Addr::UNSPECIFIED.into()) {
        return Some("it is no address of a host; 0.0.0.0/0 and ::/0 are every address");
    }
    is_within("::ffff:0:0/96")
        .then_some("packets have IPv4 addresses in their own form; write it as 192.0.2.0/24")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_match_is_refused_with_what_may_be_meant() {
        for (text, words) in [
            ("registry:5000", "such as registry.example.org"),
            ("db", "reach each other without a rule"),
            ("db/tcp", "reach each other without a rule"),
            ("localhost:1", "host.container.internal"),
            ("host-gateway:5432", "host.container.internal"),
            ("any", "0.0.0.0/0,::/0"),
            ("ALL:443", "0.0.0.0/0,::/0"),
            ("x", "such as registry.example.org"),
            ("127.0.0.1:5432", "host.container.internal"),
            ("224.0.0.1", "multicast"),
            ("a.localhost", "host.container.internal"),
            ("*.localhost", "host.container.internal"),
            ("db.container.internal", "only host.container.internal"),
            ("127.0.0.1:80", "host.container.internal"),
            ("127.0.0.0/8", "host.container.internal"),
            ("[::1]:80", "host.container.internal"),
            ("169.254.169.254:80", "link-local"),
            ("fe80::/64", "link-local"),
            ("224.0.0.251:5353/udp", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("ff02::/16", "multicast"),
            ("0.0.0.0", "0.0.0.0/0"),
            ("0.0.0.0/8", "0.0.0.0/0"),
            ("::", "::/0"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("[::ffff:192.0.2.0/120]:80", "192.0.2.0/24"),
        ] {
            let rule: EgressRule = text.parse().unwrap();
            let error = check(&rule).unwrap_err().to_string();
            let named = format!("egress rule '{rule}' can never match: ");
            assert!(
                error.starts_with(&named) && error.contains(words),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn names_are_not_learned_from_other_servers() {
        let mut dns = DnsConfiguration::default();
        let rules: Vec<EgressRule> = [
            "192.0.2.1",
            "host.docker.internal",
            "*.internal",
            "*.a.example",
            "b.example",
        ]
        .map(|text| text.parse().unwrap())
        .into();
        assert_eq!(unlearned(&dns, &rules), None);
        dns.nameservers.push("192.0.2.53".into());
        assert_eq!(unlearned(&dns, &rules), Some(&rules[3]));
        assert_eq!(unlearned(&dns, &rules[..3]), None);
    }

    #[test]
    fn what_may_match_passes() {
        for text in [
            "registry.example.org:5000",
            "*.example",
            "*.container.internal:80",
            "host.container.internal:5432",
            "host.docker.internal",
            "0.0.0.0/0",
            "::/0",
            "::/1",
            "128.0.0.0/1",
            "10.0.0.0/8",
            "100.64.0.1",
            "64:ff9b::/96",
            "fd00::1",
            "::ffff:192.0.2.1",
            "169.0.0.0/8",
        ] {
            assert_eq!(check(&text.parse().unwrap()), Ok(()), "{text}");
        }
    }
}
