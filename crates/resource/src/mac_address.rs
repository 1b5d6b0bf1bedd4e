//! Addresses of network interfaces, as `--network name,mac=…` has them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is no address that an interface can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacAddressError {
    /// Not six pairs of hexadecimal digits.
    #[error("invalid MAC address '{0}': XX:XX:XX:XX:XX:XX is expected")]
    Form(String),
    /// Meant for a group of interfaces, or for none.
    #[error("invalid MAC address '{0}': it is not one of a single interface")]
    Group(String),
}

/// The address of one interface. Its text has lower case and colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address of `bytes`, in the order in which they are sent; `None` if they are no address of a single interface.
    pub fn new(bytes: [u8; 6]) -> Option<Self> {
        // IEEE 802: the lowest bit of the first byte is set in addresses of groups.
        (bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(Self(bytes))
    }

    /// In the order in which they are sent.
    pub fn bytes(self) -> [u8; 6] {
        self.0
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

    fn read(text: &str, separator: char) -> Result<Self, MacAddressError> {
        let form = || MacAddressError::Form(text.to_owned());
        let mut bytes = [0; 6];
        let mut pairs = text.split(separator);
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2);
            let digits = pair.filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(digits.ok_or_else(form)?, 16).map_err(|_| form())?;
        }
        if pairs.next().is_some() {
            return Err(form());
        }
        Self::new(bytes).ok_or_else(|| MacAddressError::Group(text.to_owned()))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(formatter, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        Self::read(text, ':')
    }
}

impl Serialize for MacAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A MAC address as users write it, in its one spelling: hyphens are taken, too.
///
/// # Errors
/// When it has another form, or is no address of a single interface.
pub fn parse(text: &str) -> Result<String, MacAddressError> {
    let separator = if text.contains('-') { '-' } else { ':' };
    Ok(MacAddress::read(text, separator)?.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_have_one_spelling() {
        for text in ["F2:00:00:00:00:0A", "f2-00-00-00-00-0a"] {
            assert_eq!(parse(text).unwrap(), "f2:00:00:00:00:0a");
        }
        for text in [
            "",
            "f2",
            "f2:0:0:0:0:0",
            "f2:00:00:00:00",
            "f2:00:00:00:00:0g",
            "f2:00:00:00:00:00:00",
            "+2:00:00:00:00:00",
            "f200:00:00:00:00:",
        ] {
            assert!(
                matches!(parse(text), Err(MacAddressError::Form(_))),
                "{text}"
            );
        }
        for text in [
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            assert!(
                matches!(parse(text), Err(MacAddressError::Group(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn stored_ones_have_colons() {
        let mac: MacAddress = "F2:0a:00:00:00:01".parse().unwrap();
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
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn link_local_addresses_are_made_as_stations_make_them() {
        // The example of RFC 4291 appendix A, with its prefix.
        let mac: MacAddress = "34:56:78:9a:bc:de".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
    }

    proptest! {
        #[test]
        fn what_passes_passes_again(text in "[0-9a-fA-F:+-]{16,18}") {
            if let Ok(address) = parse(&text) {
                prop_assert_eq!(parse(&address), Ok(address));
            }
        }
    }
}
