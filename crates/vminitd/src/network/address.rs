//! Addresses as the host spells them.

use std::net::IpAddr;

use container_api::guest::Interface;
use thiserror::Error;

/// A text that is no address.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("invalid network address {0:?}")]
pub struct Malformed(String);

/// Six bytes.
pub type Mac = [u8; 6];

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixed {
    pub address: IpAddr,
    pub length: u8,
}

/// What an interface is to be.
#[derive(Debug, PartialEq, Eq)]
pub struct InterfacePlan {
    pub name: String,
    /// By which it is found.
    pub device_mac: Mac,
    pub mac: Mac,
    /// Bytes; 0: the device's own.
    pub mtu: u32,
    pub addresses: Vec<Prefixed>,
    pub gateways: Vec<IpAddr>,
}

/// The interface at `index` of a request.
pub fn parse(index: usize, interface: &Interface) -> Result<InterfacePlan, Malformed> {
    let device_mac = mac(&interface.device_mac)?;
    Ok(InterfacePlan {
        name: format!("eth{index}"),
        device_mac,
        mac: if interface.mac.is_empty() {
            device_mac
        } else {
            mac(&interface.mac)?
        },
        mtu: interface.mtu,
        addresses: each(&interface.addresses, prefixed)?,
        gateways: each(&interface.gateways, |text| {
            text.parse().map_err(|_| Malformed(text.to_owned()))
        })?,
    })
}

fn each<T>(
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    texts.iter().map(|text| parse(text)).collect()
}

/// `xx:xx:xx:xx:xx:xx`.
pub fn mac(text: &str) -> Result<Mac, Malformed> {
    let bytes: Vec<u8> = text
        .trim_end()
        .split(':')
        .map_while(|pair| u8::from_str_radix(pair, 16).ok())
        .collect();
    bytes.try_into().map_err(|_| Malformed(text.to_owned()))
}

/// As [`mac`] reads it.
pub fn spelled(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn prefixed(text: &str) -> Result<Prefixed, Malformed> {
    let malformed = || Malformed(text.to_owned());
    let (address, length) = text.split_once('/').ok_or_else(malformed)?;
    let address: IpAddr = address.parse().map_err(|_| malformed())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = length.parse().ok().filter(|length| *length <= most);
    Ok(Prefixed {
        address,
        length: length.ok_or_else(malformed)?,
    })
}

/// The bytes of an address as they travel.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// `AF_INET` or `AF_INET6`.
pub fn family(address: IpAddr) -> u8 {
    // linux/socket.h: both are small.
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_says_is_checked() {
        let interface = Interface {
            device_mac: "f2:00:00:00:00:01".into(),
            addresses: vec!["192.168.64.3/24".into(), "fd00::3/64".into()],
            gateways: vec!["192.168.64.1".into()],
            ..Interface::default()
        };
        let wanted = parse(1, &interface).unwrap();
        assert_eq!(
            (wanted.name.as_str(), wanted.mac),
            ("eth1", [0xf2, 0, 0, 0, 0, 1])
        );
        assert_eq!(wanted.addresses[1].length, 64);
        for text in ["", "f2:00", "f2:00:00:00:00:01:02", "g2:00:00:00:00:01"] {
            assert!(mac(text).is_err(), "{text}");
        }
        for text in [
            "",
            "192.168.64.3",
            "192.168.64.3/33",
            "a/24",
            "::1/129",
            "1.2.3.4/-1",
        ] {
            assert!(prefixed(text).is_err(), "{text}");
        }
    }
}
