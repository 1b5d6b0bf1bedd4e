//! Addresses of a new network: those that were asked for, if they are free, or the first free ones.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use container_api::{Error, Kind};
use container_resource::network::NetworkConfiguration;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};

use super::routes::{self, Route};

/// Length of the prefix of a network that nobody gave one.
const PREFIX: u8 = 24;
/// The same for IPv6: every link has so much (RFC 4291).
const PREFIX6: u8 = 64;
/// Networks of the default system: Apple's range, 192.168.64.0/24 to 192.168.127.0/24.
const OWN_RANGE: (u32, u32) = (0xc0a8_4000, 64);
/// Those of other systems on the same host, which choose without knowing of each other: 10.64.0.0/10.
const OTHER_RANGE: (u32, u32) = (0x0a40_0000, 1 << 14);

/// What addresses are taken on this host.
#[derive(Debug)]
pub struct Taken<'a> {
    /// Networks of this system.
    pub networks: &'a [&'a NetworkConfiguration],
    /// The host's routes.
    pub routes: &'a [Route],
}

impl Taken<'_> {
    /// Who has some address of `subnet`, in words.
    fn by(&self, subnet: IpNet) -> Option<String> {
        let nets = |configuration: &NetworkConfiguration| {
            let ipv4 = configuration.ipv4_subnet.map(IpNet::from);
            let ipv6 = configuration.ipv6_subnet.map(IpNet::from);
            [ipv4, ipv6]
        };
        for network in self.networks {
            for net in nets(network).into_iter().flatten() {
                if routes::overlap(net, subnet) {
                    return Some(format!(
                        "an existing network with subnet {net}: {}",
                        network.name
                    ));
                }
            }
        }
        let route = self
            .routes
            .iter()
            .find(|route| routes::overlap(route.destination, subnet))?;
        Some(format!("the host's {}", route.said()))
    }
}

/// Gives `configuration` the addresses that it does not ask for. `system` tells systems on one host apart; absent: the user's
/// default one.
///
/// # Errors
/// [`Kind::Exists`] when what it asks for is taken, which names the other side; [`Kind::Exhausted`] when nothing is free.
pub fn choose(
    configuration: &mut NetworkConfiguration,
    taken: &Taken<'_>,
    system: Option<&Path>,
) -> Result<(), Error> {
    let asked = [
        ("IPv4", configuration.ipv4_subnet.map(IpNet::from)),
        ("IPv6", configuration.ipv6_subnet.map(IpNet::from)),
    ];
    for (family, subnet) in asked {
        let Some(subnet) = subnet else { continue };
        if let Some(other) = taken.by(subnet) {
            let text = format!("{family} subnet {subnet} overlaps {other}");
            return Err(Error::new(Kind::Exists, text)
                .with_hint("Choose other addresses with --subnet and --subnet-v6."));
        }
    }
    if configuration.ipv4_subnet.is_none() {
        let free = candidates(system).find(|net| taken.by((*net).into()).is_none());
        let free = free.ok_or_else(|| {
            let text = "no IPv4 subnet is free for the network";
            Error::new(Kind::Exhausted, text).with_hint("Choose one with --subnet.")
        })?;
        configuration.ipv4_subnet = Some(free);
    }
    if configuration.ipv6_subnet.is_none() {
        let free = (0..16).map(|_| random6()).find_map(|net| {
            let net = net?;
            taken.by(net.into()).is_none().then_some(net)
        });
        configuration.ipv6_subnet = free;
    }
    Ok(())
}

/// That one of the host's `routes` leads addresses of a network's elsewhere, where it does: it came after the network.
pub fn astray(configuration: &NetworkConfiguration, routes: &[Route]) -> Option<String> {
    let ipv4 = configuration.ipv4_subnet.map(IpNet::from);
    let ipv6 = configuration.ipv6_subnet.map(IpNet::from);
    let subnets = [ipv4, ipv6].into_iter().flatten();
    let mut others = subnets.flat_map(|subnet| {
        let others = routes.iter().filter(|route| !route.is_of_a_network());
        let clash = move |route: &&Route| routes::overlap(route.destination, subnet);
        others
            .filter(clash)
            .map(move |route| (subnet, route.said()))
    });
    let (subnet, route) = others.next()?;
    Some(format!(
        "the host has the {route}, which overlaps the subnet {subnet}: what has addresses of both may not be reached"
    ))
}

/// Subnets in the order in which they are tried.
fn candidates(system: Option<&Path>) -> impl Iterator<Item = Ipv4Net> {
    let (range, first) = match system {
        None => (OWN_RANGE, 0),
        Some(path) => {
            let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
            let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
            (OTHER_RANGE, number % OTHER_RANGE.1)
        }
    };
    let (base, count) = range;
    (0..count).filter_map(move |step| {
        let index = (first + step) % count;
        let address = Ipv4Addr::from(base + (index << (32 - u32::from(PREFIX))));
        Ipv4Net::new(address, PREFIX).ok()
    })
}

/// A unique local network (RFC 4193): 40 random bits behind `fd00::/8`.
fn random6() -> Option<Ipv6Net> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes[1..6], rustix::rand::GetRandomFlags::empty()).ok()?;
    bytes[0] = 0xfd;
    Ipv6Net::new(Ipv6Addr::from(bytes), PREFIX6).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, subnet: Option<&str>) -> NetworkConfiguration {
        let mut configuration: NetworkConfiguration = serde_json::from_value(serde_json::json!({
            "name": name, "creationDate": "2026-01-01T00:00:00Z", "plugin": "p"
        }))
        .unwrap();
        configuration.ipv4_subnet = subnet.map(|text| text.parse().unwrap());
        configuration
    }

    fn chosen(taken: &Taken<'_>, system: Option<&Path>) -> NetworkConfiguration {
        let mut new = network("new", None);
        choose(&mut new, taken, system).unwrap();
        new
    }

    #[test]
    fn the_first_free_one_is_taken() {
        let first = network("first", Some("192.168.64.0/24"));
        let route = Route {
            destination: "192.168.65.128/25".parse().unwrap(),
            device: "eth0".into(),
            is_own: false,
        };
        let taken = Taken {
            networks: &[&first],
            routes: &[route],
        };
        let new = chosen(&taken, None);
        assert_eq!(new.ipv4_subnet.unwrap().to_string(), "192.168.66.0/24");
        let subnet6 = new.ipv6_subnet.unwrap();
        assert_eq!(
            (subnet6.prefix_len(), subnet6.addr().octets()[0]),
            (64, 0xfd)
        );
        // Everything is the host's: nothing is free.
        let everything = Route {
            destination: "192.0.0.0/2".parse().unwrap(),
            device: "tun0".into(),
            is_own: false,
        };
        let taken = Taken {
            networks: &[],
            routes: &[everything],
        };
        let error = choose(&mut network("new", None), &taken, None).unwrap_err();
        assert_eq!(error.kind, Kind::Exhausted);
    }

    #[test]
    fn systems_choose_apart_from_each_other() {
        let taken = Taken {
            networks: &[],
            routes: &[],
        };
        let of = |path| chosen(&taken, Some(Path::new(path))).ipv4_subnet.unwrap();
        assert_eq!(of("/a"), of("/a"));
        assert_ne!(of("/a"), of("/b"));
        let range: Ipv4Net = "10.64.0.0/10".parse().unwrap();
        assert!(range.contains(&of("/a")));
    }

    #[test]
    fn a_route_that_came_later_is_seen() {
        let route = |destination: &str, device: &str| Route {
            destination: destination.parse().unwrap(),
            device: device.into(),
            is_own: false,
        };
        let network = network("a", Some("10.20.0.0/24"));
        // Its own interface, and the host's address in it.
        let own = [
            route("10.20.0.0/24", "cnb0123456789"),
            route("10.20.0.254/32", "lo"),
            route("10.21.0.0/24", "lan0"),
        ];
        assert_eq!(astray(&network, &own), None);
        for other in ["10.20.0.128/25", "10.20.0.0/16", "10.20.0.0/24"] {
            let routes = [&own[..], &[route(other, "tun0")]].concat();
            let said = astray(&network, &routes).unwrap();
            assert!(said.contains(other) && said.contains("tun0"), "{said}");
        }
    }

    #[test]
    fn a_clash_is_named() {
        let first = network("first", Some("10.9.0.0/24"));
        let route = Route {
            destination: "172.20.0.0/16".parse().unwrap(),
            device: "eth7".into(),
            is_own: false,
        };
        let own = Route {
            destination: "10.8.7.6/32".parse().unwrap(),
            device: "wg0".into(),
            is_own: true,
        };
        let taken = Taken {
            networks: &[&first],
            routes: &[route, own],
        };
        for (subnet, words) in [
            (
                "10.8.7.0/24",
                "IPv4 subnet 10.8.7.0/24 overlaps the host's address 10.8.7.6 on wg0",
            ),
            (
                "10.0.0.0/8",
                "IPv4 subnet 10.0.0.0/8 overlaps an existing network with subnet 10.9.0.0/24: first",
            ),
            (
                "172.20.7.0/24",
                "IPv4 subnet 172.20.7.0/24 overlaps the host's route to 172.20.0.0/16 on eth7",
            ),
        ] {
            let error = choose(&mut network("new", Some(subnet)), &taken, None).unwrap_err();
            assert_eq!(
                (error.kind, error.message().as_str()),
                (Kind::Exists, words)
            );
        }
    }
}
