//! Headers of packets: which port a first packet is for, and the packet of a datagram that is to be refused.

use std::net::{IpAddr, SocketAddr};

/// Numbers of protocols (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bytes of the headers.
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP_HEADER: u16 = 8;
/// The hops that a packet may go.
const HOPS: u8 = 64;

/// The TCP port that a packet of IPv4 or IPv6 is for; nothing where it says none, or has headers in between.
pub fn port(packet: &[u8]) -> Option<u16> {
    let (protocol, header) = match packet.first()? >> 4 {
        // RFC 791 section 3.1; the length is counted in words.
        4 => (
            *packet.get(9)?,
            usize::from(packet.first()? & 0xf).max(5) * 4,
        ),
        // RFC 8200 section 3.
        6 => (*packet.get(6)?, IPV6),
        _ => return None,
    };
    let port = packet.get(header + 2..header + 4)?.try_into().ok()?;
    (protocol == TCP).then(|| u16::from_be_bytes(port))
}

/// The packet of an empty datagram; nothing where the two are not of one family.
pub fn datagram(from: SocketAddr, to: SocketAddr) -> Option<Vec<u8>> {
    let mut udp = Vec::new();
    for number in [from.port(), to.port(), UDP_HEADER, 0] {
        udp.extend(number.to_be_bytes());
    }
    let mut pseudo = Vec::new();
    let mut packet = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0, 0, 28, 0, 0, 0, 0, HOPS, UDP, 0, 0];
            header.extend([from.octets(), to.octets()].concat());
            pseudo.extend(&header[12..IPV4]);
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum);
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 8, UDP, HOPS];
            header.extend([from.octets(), to.octets()].concat());
            pseudo.extend(&header[8..IPV6]);
            header
        }
        _ => return None,
    };
    // RFC 768: the addresses, the protocol and the length are part of the sum.
    pseudo.extend([0, UDP, 0, 8]);
    pseudo.extend(&udp);
    let sum = checksum(&pseudo);
    udp[6..8].copy_from_slice(if sum == [0, 0] { &[0xff, 0xff] } else { &sum });
    packet.extend(udp);
    Some(packet)
}

/// The Internet's checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks_exact(2);
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(from: &str, to: &str) -> (SocketAddr, SocketAddr) {
        (from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn a_datagram_is_whole() {
        let (from, to) = addresses("192.0.2.1:4000", "192.0.2.2:53");
        let packet = datagram(from, to).unwrap();
        // A header with its sum in it sums up to nothing.
        assert_eq!(checksum(&packet[..IPV4]), [0, 0]);
        let pseudo = [&packet[12..IPV4], &[0, UDP, 0, 8], &packet[IPV4..]].concat();
        assert_eq!((packet.len(), checksum(&pseudo)), (28, [0, 0]));
        let (from, to) = addresses("[2001:db8::1]:4000", "[2001:db8::2]:53");
        let packet = datagram(from, to).unwrap();
        let pseudo = [&packet[8..IPV6], &[0, UDP, 0, 8], &packet[IPV6..]].concat();
        assert_eq!((packet.len(), checksum(&pseudo)), (48, [0, 0]));
        let (from, to) = addresses("192.0.2.1:4000", "[2001:db8::2]:53");
        assert_eq!(datagram(from, to), None);
    }

    #[test]
    fn ports_of_first_packets() {
        let mut ipv4 = vec![0x46; 28];
        ipv4[9] = TCP;
        ipv4[26..].copy_from_slice(&[0x1f, 0x90]);
        assert_eq!(port(&ipv4), Some(8080));
        let mut ipv6 = vec![0x60; 44];
        ipv6[6] = TCP;
        ipv6[42..].copy_from_slice(&[0, 80]);
        assert_eq!(port(&ipv6), Some(80));
        for cut in 0..ipv4.len() {
            assert_eq!(port(&ipv4[..cut]), None);
        }
        ipv4[9] = UDP;
        ipv6[6] = 0;
        assert_eq!((port(&ipv4), port(&ipv6)), (None, None));
    }

    proptest! {
        #[test]
        fn nothing_is_too_strange(packet in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = port(&packet);
        }
    }
}
