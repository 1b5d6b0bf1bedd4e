//! Messages between the kernel and this process, most of them of its netfilter, taken apart (netlink(7), `linux/netfilter/nfnetlink.h`). Nothing that comes makes
//! it panic.

pub mod group;

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, socket_with};

/// Sizes of `nlmsghdr`, of `nfgenmsg` behind it, and of an attribute's header.
pub const HEADER: usize = 16;
pub const FAMILY: usize = 4;
const ATTRIBUTE: usize = 4;
/// `NLA_TYPE_MASK`: the other bits say what the value is like.
const KIND: u16 = 0x3fff;
/// More than the kernel puts into one message of a group or an answer.
pub const LONGEST: usize = 64 << 10;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'m> {
    /// Its type: that of the part of netfilter in the upper byte.
    pub kind: u16,
    /// That of the request which it answers.
    pub sequence: u32,
    /// What is behind its header.
    pub body: &'m [u8],
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'m> {
    /// Its type.
    pub kind: u16,
    /// Its value.
    pub value: &'m [u8],
    /// Both with the header, as they are repeated to the kernel: filled up to a multiple of four bytes, if it filled them up.
    pub whole: &'m [u8],
}

/// A socket to the part of the kernel that `protocol` names, which is told of `groups` of events.
///
/// # Errors
/// As `socket(2)` and `bind(2)`.
pub fn socket(protocol: Option<Protocol>, groups: u32, flags: SocketFlags) -> io::Result<OwnedFd> {
    let kind = (AddressFamily::NETLINK, SocketType::RAW);
    let flags = flags | SocketFlags::CLOEXEC;
    let socket = socket_with(kind.0, kind.1, flags, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// The messages in what the kernel wrote.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*bytes.first_chunk()?);
        let length = usize::try_from(length).ok()?;
        let message = bytes.get(..length).filter(|_| length >= HEADER)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([message[4], message[5]]),
            sequence: u32::from_ne_bytes([message[8], message[9], message[10], message[11]]),
            body: &message[HEADER..],
        })
    })
}

/// The attributes in a message's body behind the family, or in an attribute's value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let [first, second, third, fourth] = *bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([first, second]));
        let value = bytes.get(ATTRIBUTE..length)?;
        let whole = bytes.get(..aligned(length)).unwrap_or(bytes);
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Attribute {
            kind: u16::from_ne_bytes([third, fourth]) & KIND,
            value,
            whole,
        })
    })
}

/// A message as the kernel takes it.
pub fn message(kind: u16, flags: u16, sequence: u32, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + FAMILY + attributes.len();
    // Nobody makes one of 4 GiB.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend([family, 0, 0, 0]);
    message.extend(attributes);
    message.resize(aligned(message.len()), 0);
    message
}

/// The next multiple of four.
pub const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}
