//! Where the host's packets go: networks must not take addresses that it reaches another way.

mod kernel;

use std::net::IpAddr;

use container_api::Chain;
use ipnet::IpNet;

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
    /// It is an address of the host's own.
    pub is_own: bool,
}

impl Route {
    /// Whether it leads into a network of ours, or is an address of the host's own.
    pub fn is_of_a_network(&self) -> bool {
        self.device == "lo" || self.device.starts_with("cnb")
    }

    /// For people.
    pub fn said(&self) -> String {
        let Self {
            destination,
            device,
            is_own,
        } = self;
        if *is_own {
            format!("address {} on {device}", destination.addr())
        } else {
            format!("route to {destination} on {device}")
        }
    }
}

/// The host's routes in every table that one of its rules leads to, without those that stand for everything or are on every link, and its own
/// addresses that no route of their link is for. What cannot be read counts as empty.
pub fn all() -> Vec<Route> {
    let mut routes = kernel::routes().unwrap_or_else(|error| {
        tracing::warn!("the host's routes cannot be read: {}", Chain(&error));
        Vec::new()
    });
    routes.retain(|route| is_for_some_place(route.destination));
    let (own, mut routes): (Vec<Route>, Vec<Route>) =
        routes.into_iter().partition(|route| route.is_own);
    let alone = |own: &Route| {
        let mut of_link = routes.iter().filter(|route| route.device == own.device);
        !of_link.any(|route| route.destination.contains(&own.destination))
    };
    // Most are in the range of their link.
    let alone: Vec<Route> = own.into_iter().filter(alone).collect();
    routes.extend(alone);
    routes
}

fn is_for_some_place(destination: IpNet) -> bool {
    let address = destination.addr();
    let is_of_every_link = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let shortest = match address {
        IpAddr::V4(_) => SHORTEST_IPV4,
        IpAddr::V6(_) => SHORTEST_IPV6,
    };
    let is_nobody_s = is_of_every_link || address.is_multicast() || address.is_loopback();
    destination.prefix_len() >= shortest && !is_nobody_s
}

/// Whether some address is in both.
pub fn overlap(one: IpNet, other: IpNet) -> bool {
    let contains = |net: IpNet, address: IpAddr| net.contains(&address);
    contains(one, other.network()) || contains(other, one.network())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::thread::UnshareFlags;

    use super::*;

    fn sh(line: &str) {
        let output = Command::new("sh").args(["-c", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }

    /// What `all` gives in a namespace after the lines were run.
    fn after(lines: &'static str) -> Vec<String> {
        assert!(rustix::process::geteuid().is_root(), "this test needs root");
        let work = || {
            // SAFETY: no descriptor table or working directory is unshared.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            sh(
                "ip link set lo up && ip link add name left type veth peer name right && ip link set left up && ip link set right up",
            );
            sh(lines);
            let shown = |route: Route| {
                let own = if route.is_own { " own" } else { "" };
                format!("{} {}{own}", route.destination, route.device)
            };
            let mut shown: Vec<String> = all().into_iter().map(shown).collect();
            shown.sort_unstable();
            shown
        };
        std::thread::spawn(work).join().unwrap()
    }

    #[test]
    fn routes_for_some_place_are_known() {
        let found = after(
            "ip address add 192.0.2.1/24 dev left && ip address add 2001:db8::1/64 dev left nodad
             ip route add default via 192.0.2.9 && ip route add 0.0.0.0/1 dev right && ip route add 128.0.0.0/1 dev right
             ip route add 10.0.0.0/8 dev right && ip route add unreachable 10.1.0.0/16 && ip route add throw 10.2.0.0/16
             ip route add 10.3.0.0/24 nexthop via 192.0.2.3 nexthop via 192.0.2.4
             ip -6 route add ::/1 dev right && ip -6 route add fd00::/8 dev right && ip -6 route add blackhole fd01::/64",
        );
        let expected = [
            "10.0.0.0/8 right",
            "10.1.0.0/16 *",
            "10.3.0.0/24 left",
            "192.0.2.0/24 left",
            "2001:db8::/64 left",
            "fd00::/8 right",
            "fd01::/64 lo",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_single_address_counts_and_one_of_the_host_s_own() {
        let found = after(
            "ip address add 10.9.8.7/32 dev left && ip address add 10.9.9.7 peer 10.9.9.9/32 dev right && ip route add 10.9.7.7/32 dev right
             ip -6 address add fd09::7/128 dev left nodad && ip address add 192.0.2.1/24 dev left",
        );
        let expected = [
            "10.9.7.7/32 right",
            "10.9.8.7/32 left own",
            "10.9.9.7/32 right own",
            "10.9.9.9/32 right",
            "192.0.2.0/24 left",
            "fd09::7/128 left",
        ];
        assert_eq!(found, expected);
    }

    /// VPNs keep theirs in tables of their own.
    #[test]
    fn routes_of_every_table_count_that_a_rule_leads_to() {
        let found = after(
            "ip route add 10.9.0.0/24 dev left table 52 && ip rule add pref 5270 lookup 52
             ip route add 10.8.0.0/24 dev right table 51820 && ip rule add not fwmark 0xca6c lookup 51820
             ip route add default dev right table 51820
             ip route add 10.7.0.0/24 dev right table 77
             ip -6 route add fd09::/64 dev left table 52 && ip -6 rule add lookup 52
             ip -6 route add fd07::/64 dev left table 77",
        );
        assert_eq!(
            found,
            ["10.8.0.0/24 right", "10.9.0.0/24 left", "fd09::/64 left"]
        );
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
