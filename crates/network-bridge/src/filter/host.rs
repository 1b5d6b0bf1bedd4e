//! The host's side: who may come in, under which address the network goes out, and which ports lead into it.
//!
//! A table of the network's own, named as its interface on the host, written anew as a whole with every change.

use std::net::IpAddr;

use ipnet::IpNet;

use super::packets::{counted, family};
use crate::ports::published::Published;

/// What every network's interface on the host begins with.
pub const PREFIX: &str = "cnb";

/// The table of all networks.
pub const TOGETHER: &str = "container_networks";

/// The host's addresses from which the kernel can lead a packet elsewhere: it leads nobody away from `::1`, and forwards nothing from a link-local
/// address. A process takes those connections.
const OWN_IPV4: &str = "ip daddr != 0.0.0.0 fib daddr type local";
const OWN_IPV6: &str = "fib daddr type local ip6 daddr != { ::1, fe80::/10 }";

/// One port that leads to a container.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'f> {
    /// The container's id.
    pub container: &'f str,
    /// The port.
    pub port: Published,
    /// The container's address.
    pub address: IpAddr,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Table<'t> {
    /// Its name and the interface's.
    pub name: &'t str,
    /// The network's name.
    pub network: &'t str,
    /// Subnets, with the host's address in each.
    pub subnets: &'t [(IpNet, IpAddr)],
    /// Whether packets leave the network by the host.
    pub leads_out: bool,
    /// Ports.
    pub forwards: &'t [Forward<'t>],
}

/// The script that makes the table.
pub fn table(table: &Table<'_>) -> String {
    let Table { name, network, .. } = table;
    let mut script = format!(
        "add table inet {name}
delete table inet {name}
add table inet {name} {{ comment \"network {network} of container\"; }}
add chain inet {name} raw {{ type filter hook prerouting priority raw; policy accept; }}
add chain inet {name} prerouting {{ type nat hook prerouting priority dstnat; policy accept; }}
add chain inet {name} output {{ type nat hook output priority -100; policy accept; }}
add chain inet {name} postrouting {{ type nat hook postrouting priority srcnat; policy accept; }}
add chain inet {name} input {{ type filter hook input priority filter; policy accept; }}
add chain inet {name} forward {{ type filter hook forward priority filter; policy accept; }}
"
    );
    let mut rule = |chain: &str, text: &str| {
        script.push_str(&format!("add rule inet {name} {chain} {text}\n"));
    };
    // Whom the kernel leads away from 127.0.0.1 it must not have let in there: it looks where a packet goes only afterwards.
    rule("raw", "iifname != lo ip daddr 127.0.0.0/8 counter drop");
    rule("raw", "iifname != lo ip6 daddr ::1 counter drop");
    if !table.leads_out {
        // The host itself speaks to who is there, and is answered. Nobody else is.
        rule(
            "forward",
            &format!(
                "iifname \"{PREFIX}*\" oifname {name} counter reject with icmpx admin-prohibited"
            ),
        );
        rule("forward", &format!("oifname {name} counter drop"));
        rule("forward", &format!("iifname {name} counter drop"));
        for text in [
            "ct state established,related accept",
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
            "counter reject with icmpx admin-prohibited",
        ] {
            rule("input", &format!("iifname {name} {text}"));
        }
        return script;
    }
    // What is not a reply comes in by a published port alone, from the outside and from other networks alike.
    rule(
        "forward",
        &format!("oifname {name} ct state established,related accept"),
    );
    rule("forward", &format!("oifname {name} ct status dnat accept"));
    // A container hears at once that another network is not for it; to the outside nobody is here.
    rule(
        "forward",
        &format!("iifname \"{PREFIX}*\" oifname {name} counter reject with icmpx admin-prohibited"),
    );
    rule("forward", &format!("oifname {name} counter drop"));
    rule("forward", &format!("iifname {name} ct state invalid drop"));
    for (subnet, host) in table.subnets {
        let family = family(*host);
        if host.is_ipv4() {
            rule(
                "postrouting",
                &format!("oifname {name} ip saddr 127.0.0.0/8 masquerade"),
            );
        }
        // A container that comes back in by a published port of its own network.
        rule(
            "postrouting",
            &format!("oifname {name} {family} saddr {subnet} ct status dnat masquerade"),
        );
        rule(
            "postrouting",
            &format!("oifname != {name} {family} saddr {subnet} masquerade"),
        );
    }
    // They reach what whoever is on the host's LAN reaches: what listens at the host's addresses there. What only the host itself is to
    // reach is not for them, and its address in the network is that of its loopback.
    for text in [
        "ct state established,related accept",
        "icmp type echo-request accept",
        "icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept",
        "ip daddr { 127.0.0.0/8, 169.254.0.0/16 } counter reject with icmpx admin-prohibited",
        "ip6 daddr { ::1, fe80::/10, fd00:ec2::254 } counter reject with icmpx admin-prohibited",
        "fib daddr . iif type local counter reject with icmpx admin-prohibited",
        "fib daddr type local accept",
        "counter reject with icmpx admin-prohibited",
    ] {
        rule("input", &format!("iifname {name} {text}"));
    }
    for forward in table.forwards {
        if let Some(text) = dnat(forward) {
            // What is published on 127.0.0.1 is for the host's own programs.
            let own = forward.port.host_address.map(|host| host.is_loopback());
            if own != Some(true) {
                rule("prerouting", &text);
            }
            rule("output", &text);
        }
    }
    script
}

/// What all networks of the host have in common: a table that bounds their conversations with the outside to `most`. Each network
/// writes it; what was counted stays.
pub fn together(most: u32) -> String {
    let mut script = format!(
        "add table inet {TOGETHER} {{ comment \"conversations of all networks of container\"; }}
add set inet {TOGETHER} outside {{ type mark; flags dynamic; }}
add chain inet {TOGETHER} outgoing
add chain inet {TOGETHER} forward {{ type filter hook forward priority filter; policy accept; }}
flush chain inet {TOGETHER} forward
flush chain inet {TOGETHER} outgoing
add rule inet {TOGETHER} forward iifname \"{PREFIX}*\" jump outgoing
"
    );
    for rule in counted("outside", most) {
        script.push_str(&format!("add rule inet {TOGETHER} outgoing {rule}\n"));
    }
    script
}

/// Takes that table away.
pub fn remove_together() -> String {
    remove(TOGETHER)
}

/// Takes the table away.
pub fn remove(name: &str) -> String {
    format!("add table inet {name}\ndelete table inet {name}\n")
}

fn dnat(forward: &Forward<'_>) -> Option<String> {
    let Forward {
        container,
        port,
        address,
    } = forward;
    let family = family(*address);
    let local = match port.host_address {
        Some(host) if host.is_ipv4() != address.is_ipv4() => return None,
        Some(IpAddr::V6(host)) if host.is_loopback() => return None,
        Some(host) if !host.is_unspecified() => format!("{family} daddr {host}"),
        _ if address.is_ipv6() => OWN_IPV6.to_owned(),
        _ => OWN_IPV4.to_owned(),
    };
    let protocol = port.protocol.name();
    let (from, to) = (port.host_port, port.container_port);
    let target = match address {
        IpAddr::V4(address) => format!("{address}:{to}"),
        IpAddr::V6(address) => format!("[{address}]:{to}"),
    };
    Some(format!(
        "{local} {protocol} dport {from} dnat {family} to {target} comment \"{container}\""
    ))
}
