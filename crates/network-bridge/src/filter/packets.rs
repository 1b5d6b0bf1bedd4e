//! Packets that leave the bridge: to the network's own services, and out.

use std::net::{IpAddr, SocketAddr};

use container_resource::egress::{Destination, EgressProtocol, EgressRule};
use ipnet::IpNet;

use super::TABLE;
use super::member::Member;
use super::run::Ruleset;
use crate::leases::{HOST, is_host};
use crate::links::asked::{self, ASKED, TAKEN, WAITING};
use crate::links::{BRIDGE, UPLINK};
use crate::relay::listening::MARK;

/// The comment of the rule that counts what no other allowed. The others are numbered: a comment is short (nft(8)), a name is not.
pub const REFUSED: &str = "!";
/// The most addresses that are kept for one rule's names.
const NAMES: u32 = 4096;
/// The families, as rules and names of sets have them.
const FAMILIES: [(&str, u8); 2] = [("ip", 4), ("ip6", 6)];
/// The most conversations beyond the bridge that one address has at once: the kernel's tables of them are everybody's.
const CONVERSATIONS: u32 = 4096;

/// First packets of connections to the host, and datagrams to it, that one address may send in a second: each is a process's business.
const CONNECTIONS: u32 = 1000;
const DATAGRAMS: u32 = 20_000;

/// Into how many parts the conversations of a network are counted at most, and how many are in each at least: with few in a part the hash
/// would fill one long before the others.
const PARTS: u32 = 64;
const LEAST_IN_PART: u32 = 256;

/// The most destinations of one family that are kept of what a container was refused, and for how many seconds: the guest chooses them.
const REFUSED_MOST: u32 = 32;
const REFUSED_SECONDS: u32 = 60;

/// How the names of chains with what a tap may reach begin, those with what its network allows, and those of sets with what names resolved to.
const EGRESS: &str = "egress_";
const WITHIN: &str = "within_";
const NAMES_OF: &str = "names_";
/// How the names of sets with what a tap was refused begin.
const REFUSED_OF: &str = "refused_";

/// What the whole network's rules depend on.
#[derive(Clone, Debug)]
pub struct Base {
    /// The host's addresses in the network, each with the gateway's; none where the host does not reach it.
    pub host: Vec<(IpAddr, IpAddr)>,
    /// Containers reach the host, and what is beyond; else the host alone begins to speak.
    pub leads_out: bool,
    /// Port of the gateway's addresses at which connections and datagrams to the host are taken.
    pub relay: u16,
    /// No interface of the host has its addresses: the gateway answers echo requests for them.
    pub is_alone: bool,
    /// The kernel can lead datagrams to a socket whatever they are for (`nft_tproxy`).
    pub intercepts: bool,
    /// Networks of the way out itself, under whose address packets leave; none where they leave under their own.
    pub uplink: Vec<IpNet>,
    /// The most conversations with the outside that all containers together have at once.
    pub conversations: u32,
}

/// The rules of the network, whatever containers it has. Theirs are kept.
pub fn base(base: &Base) -> String {
    let mut script = format!(
        "add table inet {TABLE}
add map inet {TABLE} policies4 {{ type ipv4_addr : verdict; }}
add map inet {TABLE} policies6 {{ type ipv6_addr : verdict; }}
add set inet {TABLE} talking4 {{ type ipv4_addr; flags dynamic; }}
add set inet {TABLE} talking6 {{ type ipv6_addr; flags dynamic; }}
add set inet {TABLE} connecting4 {{ type ipv4_addr; size 65535; flags dynamic,timeout; timeout 10s; }}
add set inet {TABLE} connecting6 {{ type ipv6_addr; size 65535; flags dynamic,timeout; timeout 10s; }}
add set inet {TABLE} sending4 {{ type ipv4_addr; size 65535; flags dynamic,timeout; timeout 10s; }}
add set inet {TABLE} sending6 {{ type ipv6_addr; size 65535; flags dynamic,timeout; timeout 10s; }}
add set inet {TABLE} outside {{ type mark; flags dynamic; }}
add set inet {TABLE} members4 {{ type ipv4_addr; }}
add set inet {TABLE} members6 {{ type ipv6_addr; }}
add chain inet {TABLE} raw {{ type filter hook prerouting priority raw; policy accept; }}
add chain inet {TABLE} mangle {{ type filter hook prerouting priority mangle; policy accept; }}
add chain inet {TABLE} to_host
add chain inet {TABLE} prerouting {{ type nat hook prerouting priority dstnat; policy accept; }}
add chain inet {TABLE} input {{ type filter hook input priority filter; policy drop; }}
add chain inet {TABLE} beginning
add chain inet {TABLE} outgoing
add chain inet {TABLE} forward {{ type filter hook forward priority filter; policy drop; }}
add chain inet {TABLE} output {{ type filter hook output priority filter; policy accept; }}
add chain inet {TABLE} postrouting {{ type nat hook postrouting priority srcnat; policy accept; }}
"
    );
    for chain in [
        "raw",
        "mangle",
        "to_host",
        "prerouting",
        "input",
        "beginning",
        "outgoing",
        "forward",
        "output",
        "postrouting",
    ] {
        script.push_str(&format!("flush chain inet {TABLE} {chain}\n"));
    }
    let mut rule = |chain: &str, text: &str| {
        script.push_str(&format!("add rule inet {TABLE} {chain} {text}\n"));
    };
    // Whether somebody listens is told by the answer to the first segment.
    rule(
        "output",
        &format!("meta mark {MARK:#x} tcp flags & (fin | syn | rst | ack) == ack drop"),
    );
    rule("input", "iifname lo accept");
    rule("input", "ct state established,related accept");
    rule("input", "ct state invalid drop");
    rule(
        "input",
        &format!("iifname {{ \"{BRIDGE}\", \"{ASKED}\" }} jump beginning"),
    );
    rule("input", "meta l4proto { icmp, ipv6-icmp } accept");
    let relay = base.relay;
    rule(
        "input",
        &format!("iifname \"{ASKED}\" ct status dnat tcp dport {relay} accept"),
    );
    rule(
        "input",
        &format!("iifname \"{BRIDGE}\" meta mark {TAKEN} jump to_host"),
    );
    rule(
        "input",
        &format!("iifname \"{BRIDGE}\" meta l4proto {{ tcp, udp }} th dport 53 accept"),
    );
    for (host, gateway) in &base.host {
        let family = family(*host);
        if base.leads_out {
            lead_to_host(&mut rule, base, *host, *gateway);
        }
        // The host asks for names, too.
        rule(
            "input",
            &format!(
                "iifname \"{UPLINK}\" {family} saddr {host} meta l4proto {{ tcp, udp }} th dport 53 accept"
            ),
        );
    }
    rule("input", "meta l4proto tcp reject with tcp reset");
    rule("input", "reject with icmpx port-unreachable");
    for (family, number) in FAMILIES {
        rule(
            "to_host",
            &format!(
                "tcp flags & (fin | syn | rst | ack) == syn add @connecting{number} {{ {family} saddr limit rate over {CONNECTIONS}/second burst {CONNECTIONS} packets }} counter drop"
            ),
        );
    }
    rule("to_host", "ip saddr vmap @policies4");
    rule("to_host", "ip6 saddr vmap @policies6");
    rule("to_host", "accept");
    // What the network's process does not let go on.
    let refused = asked::REFUSED;
    rule("raw", &format!("iifname \"{refused}\" notrack"));
    rule(
        "forward",
        &format!("iifname \"{refused}\" meta l4proto tcp reject with tcp reset"),
    );
    rule(
        "forward",
        &format!("iifname \"{refused}\" reject with icmpx port-unreachable"),
    );
    rule(
        "forward",
        &format!("iifname \"{BRIDGE}\" oifname \"{ASKED}\" meta mark {WAITING} jump to_host"),
    );
    rule("forward", "ct state established,related accept");
    rule("forward", "ct state invalid drop");
    rule("forward", &format!("iifname \"{BRIDGE}\" jump beginning"));
    // Whom nobody has is not looked for: all networks and the host have one table of neighbours, and it is small. What comes from
    // the way out the host has looked at.
    for from in [BRIDGE, UPLINK] {
        for (family, number) in FAMILIES {
            rule(
                "forward",
                &format!(
                    "iifname \"{from}\" oifname \"{BRIDGE}\" {family} daddr @members{number} accept"
                ),
            );
        }
        rule(
            "forward",
            &format!("iifname \"{from}\" oifname \"{BRIDGE}\" reject with icmpx host-unreachable"),
        );
    }
    // What lives there is not for containers.
    for network in &base.uplink {
        let family = family(network.addr());
        rule(
            "forward",
            &format!(
                "oifname \"{UPLINK}\" {family} daddr {network} reject with icmpx admin-prohibited"
            ),
        );
    }
    if base.leads_out {
        rule(
            "forward",
            &format!("iifname \"{BRIDGE}\" oifname \"{UPLINK}\" jump outgoing"),
        );
    }
    rule("forward", "reject with icmpx admin-prohibited");
    // Where clouds tell machines their secrets.
    rule(
        "outgoing",
        "ip daddr 169.254.0.0/16 counter reject with icmpx admin-prohibited",
    );
    rule(
        "outgoing",
        "ip6 daddr { fe80::/10, fd00:ec2::254 } counter reject with icmpx admin-prohibited",
    );
    for (family, number) in FAMILIES {
        rule(
            "beginning",
            &format!(
                "ct state new add @talking{number} {{ {family} saddr ct count over {CONVERSATIONS} }} counter drop"
            ),
        );
    }
    // All together, on the host's table as well.
    for text in counted("outside", base.conversations) {
        rule("outgoing", &text);
    }
    rule("outgoing", "ip saddr vmap @policies4");
    rule("outgoing", "ip6 saddr vmap @policies6");
    rule("outgoing", "accept");
    if !base.uplink.is_empty() {
        rule("postrouting", &format!("oifname \"{UPLINK}\" masquerade"));
    }
    script
}

/// Leads what is for the host's address to the network's process.
fn lead_to_host(rule: &mut impl FnMut(&str, &str), base: &Base, host: IpAddr, gateway: IpAddr) {
    let family = family(host);
    let number = if host.is_ipv4() { 4 } else { 6 };
    let relay = base.relay;
    let at = SocketAddr::new(gateway, relay);
    let from = format!("iifname \"{BRIDGE}\" {family} daddr {host}");
    // The first packet of a connection is not one of it before it is known whether there will be one.
    rule(
        "raw",
        &format!(
            "{from} tcp flags & (fin | syn | rst | ack) == syn meta mark set {WAITING} notrack"
        ),
    );
    rule(
        "prerouting",
        &format!(
            "iifname \"{ASKED}\" {family} daddr {host} meta l4proto tcp dnat {family} to {at}"
        ),
    );
    if base.intercepts {
        // What answers the host is no question to it.
        let from = format!("{from} ct direction original");
        rule(
            "mangle",
            &format!(
                "{from} meta l4proto udp add @sending{number} {{ {family} saddr limit rate over {DATAGRAMS}/second burst {DATAGRAMS} packets }} counter drop"
            ),
        );
        rule(
            "mangle",
            &format!(
                "{from} meta l4proto udp tproxy {family} to {at} meta mark set {TAKEN} accept"
            ),
        );
    }
    if base.is_alone {
        let echo = if host.is_ipv4() { "icmp" } else { "icmpv6" };
        rule(
            "prerouting",
            &format!("{from} {echo} type echo-request dnat {family} to {gateway}"),
        );
    }
}

/// Rules that refuse conversations when there are `most`, by the dynamic set `set` of the type `mark`: counted in parts, as the kernel
/// looks at each of a part whenever one begins.
pub fn counted(set: &str, most: u32) -> Vec<String> {
    let parts = (most / LEAST_IN_PART).min(PARTS);
    if parts < 2 {
        return vec![format!("ct state new ct count over {most} counter drop")];
    }
    let each = most / parts;
    let mut rules = Vec::new();
    for (family, _) in FAMILIES {
        rules.push(format!(
            "ct state new meta l4proto {{ tcp, udp }} add @{set} {{ jhash {family} saddr . {family} daddr . th sport . th dport mod {parts} ct count over {each} }} counter drop"
        ));
    }
    rules.push(format!(
        "ct state new meta l4proto != {{ tcp, udp }} ct count over {each} counter drop"
    ));
    rules
}

/// Lets packets find the member.
pub fn enlist(member: &Member<'_>) -> String {
    let element = |address: IpAddr| {
        let set = members(address);
        format!("add element inet {TABLE} {set} {{ {address} }}\n")
    };
    member.addresses().map(element).collect()
}

/// Leads the packets of `member`, whose rules are there, to them.
pub fn lead(member: &Member<'_>) -> String {
    if member.egress.is_none() {
        return String::new();
    }
    let chain = chain(member.tap);
    let element = |address: IpAddr| {
        let map = map(address);
        format!("create element inet {TABLE} {map} {{ {address} : goto {chain} }}\n")
    };
    member.sources().map(element).collect()
}

/// Forgets who is on the network, and which rules are whose; those stay.
pub fn forget_members() -> String {
    let mut script = String::new();
    for (_, number) in FAMILIES {
        script.push_str(&format!(
            "flush set inet {TABLE} members{number}\nflush map inet {TABLE} policies{number}\n"
        ));
    }
    script
}

/// Removes the rules of taps that are not `present`; `rules` is what is there.
pub fn forget(rules: &Ruleset, present: impl Fn(&str) -> bool) -> String {
    let mut script = String::new();
    let (mut emptied, mut deleted) = (String::new(), String::new());
    // Nothing may lead to a chain that goes.
    if !rules.chains.is_empty() {
        script.push_str(&forget_members());
    }
    for name in &rules.chains {
        let gone = |prefix: &str| name.strip_prefix(prefix).is_some_and(|tap| !present(tap));
        if gone(EGRESS) || gone(WITHIN) {
            emptied.push_str(&format!("flush chain inet {TABLE} {name}\n"));
            deleted.push_str(&format!("delete chain inet {TABLE} {name}\n"));
        }
    }
    // One leads to another.
    script.push_str(&emptied);
    script.push_str(&deleted);
    for name in rules.sets.keys() {
        let tap = name
            .strip_prefix(NAMES_OF)
            .or_else(|| name.strip_prefix(REFUSED_OF))
            .and_then(|rest| rest.split('_').next());
        if tap.is_some_and(|tap| !present(tap)) {
            script.push_str(&format!("delete set inet {TABLE} {name}\n"));
        }
    }
    script
}

/// What `member` may reach outside of the network: additions alone, as [`super::frames::admit`].
pub fn admit(member: &Member<'_>, host: &[IpAddr]) -> String {
    let Some(rules) = member.egress else {
        return enlist(member);
    };
    let (mut sets, mut script) = (String::new(), enlist(member));
    for (_, number) in FAMILIES {
        sets.push_str(&refused_set(&refused(member.tap, number), number));
    }
    let chain = chain(member.tap);
    if let Some(of_network) = member.within {
        // What the network allows comes back, and is what the container's own rules decide of.
        let within = within(member.tap);
        script.push_str(&format!("create chain inet {TABLE} {within}\n"));
        let first = rules.len();
        for (index, rule) in (first..).zip(of_network) {
            let leads = leads(member.tap, index, rule, host, &mut sets);
            for lead in leads {
                script.push_str(&format!("add rule inet {TABLE} {within} {lead} return\n"));
            }
        }
        script.push_str(&refuse(member.tap, &within));
        script.push_str(&format!(
            "create chain inet {TABLE} {chain}\nadd rule inet {TABLE} {chain} jump {within}\n"
        ));
    } else {
        script.push_str(&format!("create chain inet {TABLE} {chain}\n"));
    }
    for (index, rule) in rules.iter().enumerate() {
        for lead in leads(member.tap, index, rule, host, &mut sets) {
            script.push_str(&format!(
                "add rule inet {TABLE} {chain} {lead} counter accept comment \"{index}\"\n"
            ));
        }
    }
    script.push_str(&refuse(member.tap, &chain));
    sets + &script + &lead(member)
}

/// What a packet is like that the rule of this `index` leads out; the sets that this needs are added to `sets`.
fn leads(
    tap: &str,
    index: usize,
    rule: &EgressRule,
    host: &[IpAddr],
    sets: &mut String,
) -> Vec<String> {
    let mut destinations = Vec::new();
    match &rule.destination {
        Destination::Network(network) => {
            destinations.push(format!("{} daddr {network}", family(network.addr())));
        }
        Destination::Name(_) | Destination::Below(_) => {
            let is_host = matches!(&rule.destination, Destination::Name(name) if is_host(name));
            if is_host || rule.destination.covers(HOST) {
                let host = host.iter();
                destinations.extend(host.map(|host| format!("{} daddr {host}", family(*host))));
            }
            if !is_host {
                for (family, number) in FAMILIES {
                    let set = names(tap, index, number);
                    sets.push_str(&format!(
                        "add set inet {TABLE} {set} {{ type ipv{number}_addr; flags timeout; size {NAMES}; }}\n"
                    ));
                    destinations.push(format!("{family} daddr @{set}"));
                }
            }
        }
    }
    let service = service(rule);
    let with_service = |destination: String| format!("{destination}{service}");
    destinations.into_iter().map(with_service).collect()
}

/// The end of a `chain` of a tap: what came so far is refused, and kept in mind for a while.
fn refuse(tap: &str, chain: &str) -> String {
    let mut script = String::new();
    for (family, number) in FAMILIES {
        let set = refused(tap, number);
        // When it is full nothing is added, and the packet goes on.
        script.push_str(&format!(
            "add rule inet {TABLE} {chain} meta l4proto {{ tcp, udp }} add @{set} {{ {family} daddr . meta l4proto . th dport }}\n"
        ));
    }
    script.push_str(&format!(
        "add rule inet {TABLE} {chain} counter reject with icmpx admin-prohibited comment \"{REFUSED}\"\n"
    ));
    script
}

/// Takes the rules of a member away. Of its addresses some are `used` by others by now.
pub fn dismiss(member: &Member<'_>, used: &[IpAddr]) -> String {
    let chain = chain(member.tap);
    let within = within(member.tap);
    let mut script = format!("add chain inet {TABLE} {chain}\n");
    for address in member.sources() {
        script.push_str(&unset(address, &chain));
    }
    for address in member.addresses() {
        if used.contains(&address) {
            continue;
        }
        let set = members(address);
        script.push_str(&format!(
            "add element inet {TABLE} {set} {{ {address} }}\ndelete element inet {TABLE} {set} {{ {address} }}\n"
        ));
    }
    script.push_str(&format!(
        "flush chain inet {TABLE} {chain}\ndelete chain inet {TABLE} {chain}\n"
    ));
    if member.within.is_some() {
        script.push_str(&format!(
            "add chain inet {TABLE} {within}\nflush chain inet {TABLE} {within}\ndelete chain inet {TABLE} {within}\n"
        ));
    }
    if member.egress.is_some() {
        for (_, number) in FAMILIES {
            let set = refused(member.tap, number);
            script.push_str(&refused_set(&set, number));
            script.push_str(&format!("delete set inet {TABLE} {set}\n"));
        }
    }
    let rules = member.egress.into_iter().chain(member.within).flatten();
    for (index, rule) in rules.enumerate() {
        if is_learned(rule) {
            for number in [4, 6] {
                let set = names(member.tap, index, number);
                script.push_str(&format!(
                    "add set inet {TABLE} {set} {{ type ipv{number}_addr; flags timeout; size {NAMES}; }}
delete set inet {TABLE} {set}
"
                ));
            }
        }
    }
    script
}

/// Lets the member's rule with that index lead to `addresses`, the longest for `seconds`.
pub fn learn(tap: &str, index: usize, addresses: &[IpAddr], seconds: u32) -> String {
    let mut script = String::new();
    for address in addresses {
        let number = if address.is_ipv4() { 4 } else { 6 };
        let set = names(tap, index, number);
        // Taken out first: adding alone does not renew its time.
        script.push_str(&format!(
            "add element inet {TABLE} {set} {{ {address} }}
delete element inet {TABLE} {set} {{ {address} }}
add element inet {TABLE} {set} {{ {address} timeout {seconds}s }}
"
        ));
    }
    script
}

/// What a rule says of protocol and ports.
fn service(rule: &EgressRule) -> String {
    let protocol = rule.protocol.map(EgressProtocol::name);
    match (protocol, rule.ports) {
        (None, None) => String::new(),
        (Some(protocol), None) => format!(" meta l4proto {protocol}"),
        (None, Some(ports)) => format!(" meta l4proto {{ tcp, udp }} th dport {ports}"),
        (Some(protocol), Some(ports)) => format!(" {protocol} dport {ports}"),
    }
}

/// Whether the addresses of a rule are those that its names resolve to.
pub fn is_learned(rule: &EgressRule) -> bool {
    match &rule.destination {
        Destination::Network(_) => false,
        Destination::Name(name) => !is_host(name),
        Destination::Below(_) => true,
    }
}

/// The chain of a tap's policy.
pub fn chain(tap: &str) -> String {
    format!("{EGRESS}{tap}")
}

/// The chain of what its network allows a tap that has rules of its own.
pub fn within(tap: &str) -> String {
    format!("{WITHIN}{tap}")
}

/// The set of what a tap was refused of one family.
pub fn refused(tap: &str, number: u8) -> String {
    format!("{REFUSED_OF}{tap}_{number}")
}

fn refused_set(name: &str, number: u8) -> String {
    format!(
        "add set inet {TABLE} {name} {{ type ipv{number}_addr . inet_proto . inet_service; flags dynamic,timeout; \
         size {REFUSED_MOST}; timeout {REFUSED_SECONDS}s; }}\n"
    )
}

fn names(tap: &str, index: usize, number: u8) -> String {
    format!("{NAMES_OF}{tap}_{index}_{number}")
}

fn unset(address: IpAddr, chain: &str) -> String {
    let map = map(address);
    format!(
        "add element inet {TABLE} {map} {{ {address} : goto {chain} }}
delete element inet {TABLE} {map} {{ {address} }}
"
    )
}

const fn map(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "policies4",
        IpAddr::V6(_) => "policies6",
    }
}

const fn members(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "members4",
        IpAddr::V6(_) => "members6",
    }
}

/// The word for the family of an address in a rule.
pub const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    }
}
