//! Addresses of a network, as people give them.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why a text gives no addresses for a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// It is no address with the length of its prefix.
    #[error("a network such as 10.9.0.0/24 or fd00:9::/64 is expected")]
    Form,
    /// Bits behind the prefix are set: the network that is probably meant.
    #[error("it has bits behind its prefix: {0} is meant")]
    HostBits(IpNet),
    /// There is no room for a gateway and a container, or much more than a network can use.
    #[error("a prefix of {shortest} to {longest} bits is expected")]
    Prefix {
        /// The fewest bits.
        shortest: u8,
        /// The most bits.
        longest: u8,
    },
    /// Loopback, multicast and the like (IANA's registries of special-purpose addresses, RFC 6890).
    #[error("these are no addresses that hosts can have")]
    Special,
    /// An IPv6 network where an IPv4 one is expected.
    #[error("this is an IPv6 network")]
    Ipv6,
    /// The other way round.
    #[error("this is an IPv4 network")]
    Ipv4,
}

/// An IPv4 network, of 8 to 29 bits.
///
/// # Errors
/// What is wrong with it.
pub fn ipv4(text: &str) -> Result<Ipv4Net, SubnetError> {
    match parse(text)? {
        IpNet::V4(subnet) => Ok(subnet),
        IpNet::V6(_) => Err(SubnetError::Ipv6),
    }
}

/// An IPv6 network, of 16 to 120 bits.
///
/// # Errors
/// What is wrong with it.
pub fn ipv6(text: &str) -> Result<Ipv6Net, SubnetError> {
    match parse(text)? {
        IpNet::V6(subnet) => Ok(subnet),
        IpNet::V4(_) => Err(SubnetError::Ipv4),
    }
}

fn parse(text: &str) -> Result<IpNet, SubnetError> {
    let subnet: IpNet = text.parse().map_err(|_| SubnetError::Form)?;
    if subnet.addr() != subnet.network() {
        return Err(SubnetError::HostBits(subnet.trunc()));
    }
    let (shortest, longest) = match subnet {
        IpNet::V4(_) => (8, 29),
        IpNet::V6(_) => (16, 120),
    };
    if !(shortest..=longest).contains(&subnet.prefix_len()) {
        return Err(SubnetError::Prefix { shortest, longest });
    }
    let special = match subnet.network() {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.is_multicast()
                || address.is_link_local()
                || address.octets()[0] == 0
                || address.octets()[0] >= 240
        }
        IpAddr::V6(address) => is_special(address),
    };
    if special {
        return Err(SubnetError::Special);
    }
    Ok(subnet)
}

/// Whether no interface has such an address. Everything below `100::` is: the unspecified address, the loopback, and IPv4
/// addresses in IPv6 (`::ffff:0:0/96`, `64:ff9b::/96`; RFC 4291, RFC 6052), which a kernel does not give to an interface.
fn is_special(address: Ipv6Addr) -> bool {
    address.is_multicast() || address.is_unicast_link_local() || address.segments()[0] < 0x100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_checked() {
        assert_eq!(ipv4("10.9.0.0/24").unwrap().to_string(), "10.9.0.0/24");
        assert_eq!(ipv6("fd00:9::/64").unwrap().to_string(), "fd00:9::/64");
        for (text, error) in [
            ("", SubnetError::Form),
            ("10.9.0.0", SubnetError::Form),
            (
                "10.9.0.1/24",
                SubnetError::HostBits("10.9.0.0/24".parse().unwrap()),
            ),
            (
                "10.9.0.0/30",
                SubnetError::Prefix {
                    shortest: 8,
                    longest: 29,
                },
            ),
            (
                "0.0.0.0/0",
                SubnetError::Prefix {
                    shortest: 8,
                    longest: 29,
                },
            ),
            ("127.0.0.0/8", SubnetError::Special),
            ("224.0.0.0/24", SubnetError::Special),
            ("169.254.0.0/16", SubnetError::Special),
            ("fd00::/64", SubnetError::Ipv6),
        ] {
            assert_eq!(ipv4(text), Err(error), "{text}");
        }
        for text in [
            "fe80::/64",
            "ff02::/64",
            "::ffff:10.0.0.0/120",
            "::5:0:0:0/80",
            "64:ff9b::/96",
            "::/16",
        ] {
            assert_eq!(ipv6(text), Err(SubnetError::Special), "{text}");
        }
        assert_eq!(ipv6("10.9.0.0/24"), Err(SubnetError::Ipv4));
        assert!(ipv6("fd00::1/64").is_err() && ipv6("fd00::/127").is_err());
    }
}
