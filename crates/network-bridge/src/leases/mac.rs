//! Hardware addresses that are made up here.

use std::io;

use container_resource::mac_address::MacAddress;

/// The first byte: locally administered, of one station (IEEE 802, clause 8.4).
const PREFIX: u8 = 0xf2;

/// A random one.
///
/// # Errors
/// As `getrandom(2)`.
pub fn random() -> io::Result<MacAddress> {
    let mut bytes = [0; 6];
    rustix::rand::getrandom(&mut bytes[1..], rustix::rand::GetRandomFlags::empty())?;
    bytes[0] = PREFIX;
    MacAddress::new(bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ones_are_of_one_station() {
        let mac = random().unwrap();
        assert_eq!(mac.to_string().parse::<MacAddress>().unwrap(), mac);
        assert_ne!(mac, random().unwrap());
    }
}
