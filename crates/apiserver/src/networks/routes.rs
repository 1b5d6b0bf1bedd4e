//! Where the host's packets go: networks must not take addresses that it reaches another way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The shortest prefix of a route that is for some place: private networks begin with 10.0.0.0/8 (RFC 1918) and `fc00::/7` (RFC 4193). What
/// is shorter stands for everything, as the two halves of it by which a VPN takes the default route's place (0.0.0.0/1 and 128.0.0.0/1):
/// a network's own route, which is longer, is taken before it.
const SHORTEST_IPV4: u8 = 8;
const SHORTEST_IPV6: u8 = 7;

/// A route of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The addresses that it is for.
    pub destination: IpNet,
    /// The interface that it leads to.
    pub device: String,
}

impl Route {
    /// Whether it leads into a network of ours, or is an address of the host's own.
    pub fn is_of_a_network(&self) -> bool {
        self.device == "lo" || self.device.starts_with("cnb")
    }
}

/// The host's routes, without those that stand for everything. A table that cannot be read counts as empty: a host without IPv6 has no such file.
pub fn all() -> Vec<Route> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut routes = ipv4(&read("/proc/self/net/route"));
    routes.extend(ipv6(&read("/proc/self/net/ipv6_route")));
    routes
}

/// The routes of `/proc/net/route`: interface, destination, gateway, …, mask; numbers in the host's byte order.
fn ipv4(text: &str) -> Vec<Route> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| {
            let digits = fields.get(index)?;
            u32::from_str_radix(digits, 16).ok().map(u32::from_be)
        };
        let destination = Ipv4Addr::from(number(1)?);
        let mask = Ipv4Addr::from(number(7)?);
        let destination = Ipv4Net::with_netmask(destination, mask).ok()?;
        (destination.prefix_len() >= SHORTEST_IPV4).then(|| Route {
            destination: destination.into(),
            device: fields[0].to_owned(),
        })
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// The routes of `/proc/net/ipv6_route`: destination, prefix, source, …, interface.
fn ipv6(text: &str) -> Vec<Route> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let destination = u128::from_str_radix(fields.first()?, 16).ok()?;
        let length = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        let destination = Ipv6Net::new(Ipv6Addr::from(destination), length).ok()?;
        let address = destination.addr();
        let of_every_link = address.is_unicast_link_local()
            || address.is_multicast()
            || address.is_loopback()
            || length < SHORTEST_IPV6;
        (!of_every_link).then(|| Route {
            destination: destination.into(),
            device: fields.last().copied().unwrap_or_default().to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Whether some address is in both.
pub fn overlap(one: IpNet, other: IpNet) -> bool {
    let contains = |net: IpNet, address: IpAddr| net.contains(&address);
    contains(one, other.network()) || contains(other, one.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_understood() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            tun0\t00000000\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n\
            tun0\t00000080\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let routes = ipv4(text);
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].destination.to_string(), "192.0.2.0/24");
        assert_eq!(routes[0].device, "eth0");
        let text = "00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo\n\
            fd000000000000010000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1\n\
            80000000000000000000000000000000 01 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     tun0\n\
            fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
            00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
        let routes = ipv6(text);
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].destination.to_string(), "fd00:0:0:1::/64");
        assert!(ipv4("").is_empty() && ipv6("nonsense\n").is_empty());
        all();
    }

    #[test]
    fn overlaps_are_seen_from_both_sides() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert!(overlap(net("10.0.0.0/8"), net("10.9.0.0/24")));
        assert!(overlap(net("10.9.0.0/24"), net("10.0.0.0/8")));
        assert!(!overlap(net("10.9.0.0/24"), net("10.9.1.0/24")));
        assert!(!overlap(net("10.0.0.0/8"), net("fd00::/8")));
    }
}
