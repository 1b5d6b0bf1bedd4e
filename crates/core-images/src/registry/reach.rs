//! From where an address can be reached: a registry that anybody can reach may not send this process to one that only
//! this host or its network can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use reqwest::Url;

/// Metadata services of clouds whose addresses are no link-local ones.
const METADATA: [IpAddr; 4] = [
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure's WireServer.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Amazon EC2.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    // Google Compute Engine.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Who can reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everybody.
    Public,
    /// A private network.
    Private,
    /// This host.
    Host,
    /// This host's link, or the cloud that it runs in: no registry is there, but who asks may be given secrets.
    Link,
}

impl Reach {
    /// Of an address (RFC 6890 and its registries).
    pub(super) fn of(address: IpAddr) -> Self {
        if METADATA.contains(&address) {
            return Self::Link;
        }
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => match embedded(address) {
                Some(address) => Self::of(IpAddr::V4(address)),
                None => Self::of_v6(address),
            },
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, third, _] = address.octets();
        let is_shared = first == 100 && (64..128).contains(&second);
        let is_protocol = (first, second, third) == (192, 0, 0);
        let is_benchmark = first == 198 && (second & 0xfe) == 18;
        if address.is_link_local() || address.is_multicast() || first >= 240 {
            Self::Link
        } else if address.is_loopback() || first == 0 {
            Self::Host
        } else if address.is_private() || is_shared || is_protocol || is_benchmark {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_unicast_link_local() || address.is_multicast() {
            Self::Link
        } else if address.is_loopback() || address.is_unspecified() {
            Self::Host
        } else if address.is_unique_local() || (address.segments()[0] & 0xffc0) == 0xfec0 {
            Self::Private
        } else {
            Self::Public
        }
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, by NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let v4 = |high: usize| {
        let bits = u32::from(segments[high]) << 16 | u32::from(segments[high + 1]);
        Some(Ipv4Addr::from(bits))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => v4(6),
        // But for the unspecified and the loopback address.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => v4(6),
        [0x2002, ..] => v4(1),
        _ => None,
    }
}

/// A registry that was asked for, as far as it may send this process elsewhere.
#[derive(Debug)]
pub(super) struct Origin {
    host: String,
    /// Of its address, as far as that is known: behind a proxy it is not.
    reach: Mutex<Option<Reach>>,
}

impl Origin {
    /// The registry at `base`.
    pub(super) fn new(base: &Url) -> Self {
        let host = base.host_str().unwrap_or_default().to_owned();
        let reach = literal(&host).map(Reach::of);
        Self {
            host,
            reach: Mutex::new(reach),
        }
    }

    /// Whether `host` is the registry's own.
    pub(super) fn is(&self, host: &str) -> bool {
        self.host == host
    }

    /// Remembers where the registry's name leads.
    pub(super) fn found(&self, reach: Reach) {
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner) = Some(reach);
    }

    /// Why it may not lead to an address that `reach` is of; `None` if it may.
    pub(super) fn refusal(&self, reach: Reach) -> Option<&'static str> {
        let own = *self.reach.lock().unwrap_or_else(PoisonError::into_inner);
        match reach {
            Reach::Public => None,
            Reach::Private if own != Some(Reach::Public) => None,
            Reach::Host if own == Some(Reach::Host) => None,
            Reach::Private => {
                Some("it is an address of a private network, and the registry is public")
            }
            Reach::Host | Reach::Link => Some("it is an address of this machine or its link"),
        }
    }
}

/// The address that a host is, as it stands in a URL.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_by_who_can_reach_them() {
        for (address, reach) in [
            ("93.184.216.34", Reach::Public),
            ("2001:db8::1", Reach::Public),
            ("172.15.0.1", Reach::Public),
            ("100.63.0.1", Reach::Public),
            ("10.0.0.1", Reach::Private),
            ("172.31.0.1", Reach::Private),
            ("192.168.0.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("192.0.0.192", Reach::Private),
            ("198.19.0.1", Reach::Private),
            ("fd12::1", Reach::Private),
            ("fec0::1", Reach::Private),
            ("127.8.9.1", Reach::Host),
            ("0.0.0.0", Reach::Host),
            ("0.1.2.3", Reach::Host),
            ("::1", Reach::Host),
            ("::", Reach::Host),
            ("169.254.169.254", Reach::Link),
            ("100.100.100.200", Reach::Link),
            ("168.63.129.16", Reach::Link),
            ("224.0.0.1", Reach::Link),
            ("255.255.255.255", Reach::Link),
            ("fe80::1", Reach::Link),
            ("ff02::1", Reach::Link),
            ("fd00:ec2::254", Reach::Link),
            ("fd20:ce::254", Reach::Link),
            ("::ffff:169.254.169.254", Reach::Link),
            ("::ffff:127.0.0.1", Reach::Host),
            ("::169.254.169.254", Reach::Link),
            ("64:ff9b::a9fe:a9fe", Reach::Link),
            ("64:ff9b::a00:1", Reach::Private),
            ("2002:a9fe:a9fe::1", Reach::Link),
            ("2002:7f00:1::", Reach::Host),
        ] {
            assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn another_spelling_reaches_no_farther(bits: u32) {
            let address = Ipv4Addr::from(bits);
            let [high, low] = [bits >> 16, bits & 0xffff].map(|half| u16::try_from(half).unwrap());
            for spelled in [
                address.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                proptest::prop_assert_eq!(Reach::of(spelled.into()), Reach::of(address.into()));
            }
        }
    }

    #[test]
    fn nobody_leads_nearer_than_they_are() {
        let origin = |host: &str| Origin::new(&format!("https://{host}/v2/").parse().unwrap());
        let may = |origin: &Origin| {
            [Reach::Public, Reach::Private, Reach::Host, Reach::Link]
                .map(|reach| origin.refusal(reach).is_none())
        };
        assert_eq!(may(&origin("93.184.216.34")), [true, false, false, false]);
        assert_eq!(may(&origin("10.0.0.1")), [true, true, false, false]);
        assert_eq!(may(&origin("127.0.0.1")), [true, true, true, false]);
        assert_eq!(may(&origin("[::1]")), [true, true, true, false]);
        assert_eq!(may(&origin("169.254.0.1")), [true, true, false, false]);
        let named = origin("registry.example");
        assert_eq!(
            may(&named),
            [true, true, false, false],
            "nothing is known of it"
        );
        named.found(Reach::Public);
        assert_eq!(may(&named), [true, false, false, false]);
    }
}
