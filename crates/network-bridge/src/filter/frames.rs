//! Frames from machines: each machine speaks for itself alone.
//!
//! A machine may use its own hardware address and its own addresses. It announces no routers, redirects nobody, serves no
//! DHCP, and sends nothing but IP and ARP: what is in a VLAN's or another frame could not be checked. Nor does it send to the
//! loopback addresses of others, which some hosts of containers let in (`route_localnet`).

use super::TABLE;
use super::member::Member;
use crate::links::tap;

/// Frames to everybody that a machine may send in a second.
const BROADCASTS: u32 = 1000;

/// Headers that are not the last of an IPv6 packet (IANA's registry of extension headers), and the one that says that nothing follows: behind
/// a fragment's header they hide what the packet is.
const MORE_HEADERS: &str = "0, 43, 44, 51, 59, 60, 135, 139, 140, 253, 254";

/// What tags begin with (`ETH_P_8021Q` and `ETH_P_8021AD` of `linux/if_ether.h`). The kernel takes the outer tag off before any rule looks: some
/// expressions then see what is behind it, and others the tag, so that a frame could pass as one and be taken for the other.
const VLAN: &str = "0x8100";
const SERVICE_VLAN: &str = "0x88a8";

/// The chain that every frame comes to, for taps that may come later. Members are kept.
pub fn base() -> String {
    format!(
        "add table bridge {TABLE}
add map bridge {TABLE} taps {{ type ifname : verdict; }}
add chain bridge {TABLE} frames {{ type filter hook prerouting priority -300; policy accept; }}
flush chain bridge {TABLE} frames
add rule bridge {TABLE} frames iifname \"{prefix}*\" ether type {{ {VLAN}, {SERVICE_VLAN} }} counter drop
add rule bridge {TABLE} frames iifname \"{prefix}*\" ip daddr 127.0.0.0/8 counter drop
add rule bridge {TABLE} frames iifname vmap @taps
add rule bridge {TABLE} frames iifname \"{prefix}*\" drop
",
        prefix = tap::PREFIX,
    )
}

/// What `member` may send. Nothing but additions: for whatever is removed nft waits until the kernel has freed it, which takes as long as
/// some starts. Where the tap has rules already it fails; [`dismiss`] takes them away.
pub fn admit(member: &Member<'_>) -> String {
    let Member {
        container,
        tap,
        mac,
        ..
    } = member;
    let mut script = format!("create chain bridge {TABLE} {tap}\n");
    let mut rule = |text: &str| {
        script.push_str(&format!(
            "add rule bridge {TABLE} {tap} {text} comment \"{container}\"\n"
        ));
    };
    rule(&format!("ether saddr != {mac} counter drop"));
    rule(&format!(
        "meta pkttype {{ broadcast, multicast }} limit rate over {BROADCASTS}/second burst {BROADCASTS} packets counter drop"
    ));
    if let Some(ipv4) = member.ipv4 {
        // 0.0.0.0 asks whether an address is taken (RFC 5227).
        rule(&format!(
            "arp saddr ether {mac} arp saddr ip {{ 0.0.0.0, {ipv4} }} accept"
        ));
        rule("ether type ip udp sport 67 counter drop");
        rule(&format!("ip saddr {ipv4} accept"));
    }
    if let Some(ipv6) = member.ipv6 {
        let own = [ipv6, mac.link_local()];
        let [first, second] = own;
        // The address that is announced: behind type, code, checksum and flags (RFC 4861 section 4.4).
        let targets = own
            .map(|address| format!("{:#034x}", address.to_bits()))
            .join(", ");
        // What is looked at below is in the first fragment, if there are several (RFC 7112), and discovery is in none (RFC 6980).
        rule(&format!("frag nexthdr {{ {MORE_HEADERS} }} counter drop"));
        rule("exthdr frag exists icmpv6 type 133-137 counter drop");
        rule("icmpv6 type { nd-router-advert, nd-redirect } counter drop");
        rule(&format!(
            "icmpv6 type nd-neighbor-advert @th,64,128 != {{ {targets} }} counter drop"
        ));
        rule("ether type ip6 udp sport 547 counter drop");
        // Before it has an address it asks whether that is taken, and tells which groups it is in.
        rule("ip6 saddr :: icmpv6 type { nd-neighbor-solicit, mld2-listener-report } accept");
        rule(&format!("ip6 saddr {{ {first}, {second} }} accept"));
    }
    rule("counter drop");
    script.push_str(&format!(
        "add element bridge {TABLE} taps {{ {tap} : jump {tap} }}\n"
    ));
    script
}

/// Takes the rules of a tap away.
pub fn dismiss(tap: &str) -> String {
    // Made first: what is not there could not be removed.
    format!(
        "add chain bridge {TABLE} {tap}
add element bridge {TABLE} taps {{ {tap} : jump {tap} }}
delete element bridge {TABLE} taps {{ {tap} }}
flush chain bridge {TABLE} {tap}
delete chain bridge {TABLE} {tap}
"
    )
}
