//! One conversation as the kernel shows it (`linux/netfilter/nfnetlink_conntrack.h`).

use std::net::IpAddr;

use crate::netlink::{Attribute, FAMILY, attributes};

/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY` and `CTA_ZONE`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ZONE: u16 = 18;
/// `CTA_TUPLE_IP` and `CTA_TUPLE_PROTO`.
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
/// `CTA_IP_V4_SRC`, `CTA_IP_V4_DST`, `CTA_IP_V6_SRC` and `CTA_IP_V6_DST`.
const FROM_IPV4: u16 = 1;
const TO_IPV4: u16 = 2;
const FROM_IPV6: u16 = 3;
const TO_IPV6: u16 = 4;
/// `CTA_PROTO_NUM` and `CTA_PROTO_DST_PORT`.
const NUMBER: u16 = 1;
const TO_PORT: u16 = 3;

/// A conversation.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'m> {
    /// Its family of addresses, as messages have it.
    pub family: u8,
    /// Of the packets of whoever began.
    pub original: Direction,
    /// Of those of the other side.
    pub reply: Direction,
    /// What names it to the kernel.
    name: Attribute<'m>,
    zone: Option<Attribute<'m>>,
}

/// Where packets of one direction are from, and what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    /// Source.
    pub from: Option<IpAddr>,
    /// Destination.
    pub to: Option<IpAddr>,
    /// Number of the protocol.
    pub protocol: Option<u8>,
    /// Port of the destination, where the protocol has ports.
    pub port: Option<u16>,
}

impl<'m> Entry<'m> {
    /// Of a message's body; nothing where that is of another form.
    pub fn parse(body: &'m [u8]) -> Option<Self> {
        let (mut original, mut reply, mut zone) = (None, None, None);
        for attribute in attributes(body.get(FAMILY..)?) {
            match attribute.kind {
                ORIGINAL => original = Some(attribute),
                REPLY => reply = Some(attribute),
                ZONE => zone = Some(attribute),
                _ => {}
            }
        }
        let name = original?;
        Some(Self {
            family: *body.first()?,
            original: Direction::parse(name.value),
            reply: Direction::parse(reply?.value),
            name,
            zone,
        })
    }

    /// Every address that it has: of both directions, as one of them may have been led elsewhere.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let directions = [self.original, self.reply];
        let addresses = directions.map(|direction| [direction.from, direction.to]);
        addresses.into_iter().flatten().flatten()
    }

    /// The attributes that name it.
    pub fn name(&self) -> Vec<u8> {
        let zone = self.zone.map(|zone| zone.whole).unwrap_or_default();
        [self.name.whole, zone].concat()
    }
}

impl Direction {
    fn parse(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        for part in attributes(bytes) {
            for attribute in attributes(part.value) {
                match (part.kind, attribute.kind) {
                    (ADDRESSES, FROM_IPV4 | FROM_IPV6) => found.from = address(attribute.value),
                    (ADDRESSES, TO_IPV4 | TO_IPV6) => found.to = address(attribute.value),
                    (PROTOCOL, NUMBER) => found.protocol = attribute.value.first().copied(),
                    (PROTOCOL, TO_PORT) => {
                        let bytes = attribute.value.first_chunk().copied();
                        found.port = bytes.map(u16::from_be_bytes);
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    let ipv6 = <[u8; 16]>::try_from(value).map(IpAddr::from);
    ipv4.or(ipv6).ok()
}
