//! Hardware addresses.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The first byte of those that are made up here: locally administered, of one station (IEEE 802, clause 8.4).
const PREFIX: u8 = 0xf2;

/// The Ethernet address of one station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// Not an address of one station.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid MAC address '{0}': six bytes such as f2:00:00:00:00:01 are expected, and no multicast address"
)]
pub struct MacError(String);

impl Mac {
    /// A random one.
    ///
    /// # Errors
    /// As `getrandom(2)`.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 6];
        rustix::rand::getrandom(&mut bytes[1..], rustix::rand::GetRandomFlags::empty())?;
        bytes[0] = PREFIX;
        Ok(Self(bytes))
    }

    /// The link-local address that a station makes of it (RFC 4291 appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfe, 0x80]);
        octets[8..11].copy_from_slice(&self.0[..3]);
        octets[8] ^= 2;
        octets[11..13].copy_from_slice(&[0xff, 0xfe]);
        octets[13..].copy_from_slice(&self.0[3..]);
        octets.into()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(formatter, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let invalid = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            let digits = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let digits = digits.ok_or_else(invalid)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        // The lowest bit of the first byte marks a group.
        if parts.next().is_some() || bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(invalid());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        let mac: Mac = "F2:0a:00:00:00:01".parse().unwrap();
        assert_eq!(mac.to_string(), "f2:0a:00:00:00:01");
        for text in [
            "",
            "f2:00:00:00:00",
            "f2:00:00:00:00:00:00",
            "01:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "f2:0:00:00:00:00",
            "f2:+1:00:00:00:00",
            "f2-00-00-00-00-01",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn link_local_addresses_are_made_as_stations_make_them() {
        // The example of RFC 4291 appendix A, with its prefix.
        let mac: Mac = "34:56:78:9a:bc:de".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
    }

    #[test]
    fn random_ones_are_of_one_station() {
        let mac = Mac::random().unwrap();
        assert_eq!(mac.to_string().parse::<Mac>().unwrap(), mac);
        assert_ne!(mac, Mac::random().unwrap());
    }
}
