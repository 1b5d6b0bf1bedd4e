//! What the addresses of a subnet are for.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Addresses before the first that containers get: the network's own and the gateway's.
const FIRST: u128 = 2;
/// Addresses behind the last that containers get: the host's and the one that is broadcast to.
const BEHIND: u128 = 2;

/// An address of either family, as a number.
pub trait Family: Copy + Ord + std::fmt::Display {
    /// The network of such addresses.
    type Net: Copy + std::fmt::Display;
    /// First address of the network, and how many it has.
    fn range(net: Self::Net) -> (u128, u128);
    /// Of a number that a [`Self::range`] holds.
    fn from_number(number: u128) -> Self;
    /// The address as a number.
    fn number(self) -> u128;
}

impl Family for Ipv4Addr {
    type Net = Ipv4Net;

    fn range(net: Ipv4Net) -> (u128, u128) {
        let first = u128::from(net.network().to_bits());
        (first, 1 << (32 - net.prefix_len()))
    }

    fn from_number(number: u128) -> Self {
        // A range of this family holds no larger ones.
        Self::from_bits(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn number(self) -> u128 {
        self.to_bits().into()
    }
}

impl Family for Ipv6Addr {
    type Net = Ipv6Net;

    fn range(net: Ipv6Net) -> (u128, u128) {
        let size = 1_u128.checked_shl((128 - net.prefix_len()).into());
        (net.network().to_bits(), size.unwrap_or(u128::MAX))
    }

    fn from_number(number: u128) -> Self {
        Self::from_bits(number)
    }

    fn number(self) -> u128 {
        self.to_bits()
    }
}

/// Why an address can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not in the subnet.
    #[error("{0} is not in the network's subnet {1}")]
    Outside(String, String),
    /// The network's, the gateway's, the host's or that of broadcasts.
    #[error("{0} is an address that the network itself needs")]
    Reserved(String),
    /// Another container's.
    #[error("{0} belongs to another container of the network")]
    Taken(String),
    /// None left.
    #[error("the subnet {0} has no free address left")]
    Exhausted(String),
}

/// A subnet with at least one address for a container.
#[derive(Clone, Copy, Debug)]
pub struct Subnet<F: Family> {
    net: F::Net,
    first: u128,
    size: u128,
}

impl<F: Family> Subnet<F> {
    /// None when `net` is too small: at most /29, or /125, will do.
    pub fn new(net: F::Net) -> Option<Self> {
        let (first, size) = F::range(net);
        (size > FIRST + BEHIND).then_some(Self { net, first, size })
    }

    /// The network's own side: the first address.
    pub fn gateway(&self) -> F {
        F::from_number(self.first + 1)
    }

    /// The host's address: the last but the one that is broadcast to.
    pub fn host(&self) -> F {
        F::from_number(self.first + self.size - BEHIND)
    }

    /// A free address, the next one after that which was given last: one that was freed is not given again at once.
    pub fn next(&self, last: Option<F>, taken: &BTreeSet<F>) -> Result<F, AddressError> {
        let (low, high) = (self.first + FIRST, self.first + self.size - BEHIND - 1);
        let mut number = last.map_or(low, |last| last.number().wrapping_add(1));
        // One more look than there are taken ones finds a free one, unless there is none.
        for _ in 0..=taken.len() {
            if !(low..=high).contains(&number) {
                number = low;
            }
            let address = F::from_number(number);
            if !taken.contains(&address) {
                return Ok(address);
            }
            number += 1;
        }
        Err(AddressError::Exhausted(self.net.to_string()))
    }

    /// Whether a container may have `wanted`.
    pub fn check(&self, wanted: F, taken: &BTreeSet<F>) -> Result<(), AddressError> {
        let text = wanted.to_string();
        let number = wanted.number();
        if number < self.first || number - self.first >= self.size {
            return Err(AddressError::Outside(text, self.net.to_string()));
        }
        let offset = number - self.first;
        if offset < FIRST || offset >= self.size - BEHIND {
            return Err(AddressError::Reserved(text));
        }
        if taken.contains(&wanted) {
            return Err(AddressError::Taken(text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subnet(text: &str) -> Subnet<Ipv4Addr> {
        Subnet::new(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_network_keeps_four_addresses() {
        let small = subnet("192.0.2.8/29");
        assert_eq!(small.gateway().to_string(), "192.0.2.9");
        assert_eq!(small.host().to_string(), "192.0.2.14");
        let mut taken = BTreeSet::new();
        let mut last = None;
        for expected in ["192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13"] {
            let address = small.next(last, &taken).unwrap();
            assert_eq!(address.to_string(), expected);
            taken.insert(address);
            last = Some(address);
        }
        let error = small.next(last, &taken).unwrap_err();
        assert_eq!(error, AddressError::Exhausted("192.0.2.8/29".into()));
        assert!(Subnet::<Ipv4Addr>::new("192.0.2.8/30".parse().unwrap()).is_none());
        assert!(Subnet::<Ipv6Addr>::new("fd00::/126".parse().unwrap()).is_none());
        assert!(Subnet::<Ipv6Addr>::new("::/0".parse().unwrap()).is_some());
    }

    #[test]
    fn a_freed_address_is_not_the_next_one() {
        let net = subnet("192.0.2.0/24");
        let first = net.next(None, &BTreeSet::new()).unwrap();
        let second = net.next(Some(first), &BTreeSet::new()).unwrap();
        assert_ne!(first, second);
        // Behind the last one it begins anew.
        let last = "192.0.2.253".parse().unwrap();
        assert_eq!(net.next(Some(last), &BTreeSet::new()).unwrap(), first);
    }

    #[test]
    fn wanted_addresses_are_checked() {
        let net: Subnet<Ipv6Addr> = Subnet::new("fd00:1::/64".parse().unwrap()).unwrap();
        let taken = BTreeSet::from(["fd00:1::7".parse().unwrap()]);
        let check = |text: &str| net.check(text.parse().unwrap(), &taken);
        assert_eq!(check("fd00:1::8"), Ok(()));
        assert!(matches!(check("fd00:1::7"), Err(AddressError::Taken(_))));
        assert!(matches!(check("fd00:2::8"), Err(AddressError::Outside(..))));
        for reserved in ["fd00:1::", "fd00:1::1", "fd00:1::ffff:ffff:ffff:fffe"] {
            let found = check(reserved);
            assert!(
                matches!(found, Err(AddressError::Reserved(_))),
                "{reserved}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_given_may_be_had(bits in 8_u8..30, steps in prop::collection::vec(any::<bool>(), 1..60)) {
            let net = Ipv4Net::new(Ipv4Addr::new(10, 1, 2, 0), bits).unwrap();
            let Some(subnet) = Subnet::<Ipv4Addr>::new(net) else {
                return Ok(());
            };
            let (mut taken, mut last) = (BTreeSet::new(), None);
            for release in steps {
                if let Ok(address) = subnet.next(last, &taken) {
                    prop_assert_eq!(subnet.check(address, &taken), Ok(()));
                    taken.insert(address);
                    last = Some(address);
                } else {
                    let size = Ipv4Addr::range(net).1;
                    prop_assert_eq!(u128::try_from(taken.len()).unwrap(), size - 4);
                }
                if release {
                    taken.pop_first();
                }
            }
        }
    }
}
