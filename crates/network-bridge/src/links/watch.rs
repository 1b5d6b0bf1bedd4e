//! Whether somebody takes an interface of the host away, or what belongs to it: its addresses, its routes, that it is up, and that the
//! host forwards. `ip addr flush`, a network's configuration that is loaded anew, and `sysctl --system` do that.
//!
//! The kernel tells of each change, to whoever is in a group of `enum rtnetlink_groups` (`linux/rtnetlink.h`).

use std::io;
use std::time::Duration;

use rustix::net::Protocol;
use rustix::net::netdevice::name_to_index;
use tokio::time::Instant;

use crate::netlink::group::{Group, Heard};
use crate::netlink::{Message, attributes, messages};

/// `NETLINK_ROUTE`, 0.
const ROUTE: Option<Protocol> = None;
/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_IFADDR`, `RTNLGRP_IPV6_ROUTE`, `RTNLGRP_IPV4_NETCONF` and
/// `RTNLGRP_IPV6_NETCONF`.
const GROUPS: [u32; 7] = [1, 5, 7, 9, 11, 24, 25];
/// Types of messages.
const NEW_LINK: u16 = 16;
const DELETED_LINK: u16 = 17;
const DELETED_ADDRESS: u16 = 21;
const DELETED_ROUTE: u16 = 25;
const NEW_CONFIGURATION: u16 = 80;
/// Where `ifinfomsg` and `ifaddrmsg` have the index of the interface, and where the first has its flags.
const INDEX: usize = 4;
const FLAGS: usize = 8;
/// `IFF_UP`.
const UP: u32 = 1;
/// Bytes of `rtmsg` and, filled up, of `netconfmsg`.
const ROUTE_HEADER: usize = 12;
const CONFIGURATION_HEADER: usize = 4;
/// `RTA_OIF`.
const LEADS_BY: u16 = 4;
/// `NETCONFA_IFINDEX`, with `NETCONFA_IFINDEX_ALL`, and `NETCONFA_FORWARDING` (`linux/netconf.h`).
const OF: u16 = 1;
const ALL: i32 = -1;
const FORWARDING: u16 = 2;
/// One change is told in many messages.
const SETTLED: Duration = Duration::from_millis(100);

/// Hears of one interface.
#[derive(Debug)]
pub struct Watch {
    group: Group,
    index: u32,
    /// When what was told is all of one change.
    settled: Option<Instant>,
}

/// Something of the interface is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The kernel has told of it.
    Told,
    /// Perhaps: some of what happened was not told.
    Possible,
}

impl Watch {
    /// Of the host's interface `name`, from now on.
    ///
    /// # Errors
    /// As `socket(2)`, `bind(2)` and `if_nametoindex(3)`.
    pub fn new(name: &str) -> io::Result<Self> {
        let groups = GROUPS.iter().fold(0, |bits, group| bits | 1 << (group - 1));
        let group = Group::join(ROUTE, groups)?;
        let index = name_to_index(&group, name)?;
        Ok(Self {
            group,
            index,
            settled: None,
        })
    }

    /// Forgets what was told until now, and hears of the interface that has the name now, if there is one.
    pub fn renew(&mut self, name: &str) {
        self.group.skip();
        self.settled = None;
        self.index = name_to_index(&self.group, name).unwrap_or(self.index);
    }

    /// Waits until something of the interface is gone, or may be. What was heard stays if the wait is given up.
    ///
    /// # Errors
    /// As `read(2)`.
    pub async fn lost(&mut self) -> io::Result<Loss> {
        loop {
            match self.group.hear(self.settled).await? {
                Heard::Messages(bytes) => {
                    let mut told = messages(bytes);
                    if told.any(|message| is_loss(&message, self.index)) {
                        self.settled = self.settled.or_else(|| Some(Instant::now() + SETTLED));
                    }
                }
                Heard::Overflow => return Ok(Loss::Possible),
                Heard::Silence => {
                    self.settled = None;
                    return Ok(Loss::Told);
                }
            }
        }
    }
}

/// Whether `message` tells that something of the interface with that index is gone, or that the host does not forward any more.
fn is_loss(message: &Message<'_>, index: u32) -> bool {
    let body = message.body;
    let word = |at: usize| {
        let bytes = body.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let is_its = word(INDEX) == Some(index);
    let value = |header: usize, kind: u16| {
        let mut attributes = attributes(body.get(header..)?);
        let found = attributes.find(|attribute| attribute.kind == kind)?;
        Some(i32::from_ne_bytes(*found.value.first_chunk()?))
    };
    match message.kind {
        NEW_LINK => is_its && word(FLAGS).is_some_and(|flags| flags & UP == 0),
        DELETED_LINK | DELETED_ADDRESS => is_its,
        DELETED_ROUTE => value(ROUTE_HEADER, LEADS_BY) == i32::try_from(index).ok(),
        NEW_CONFIGURATION => {
            value(CONFIGURATION_HEADER, OF) == Some(ALL)
                && value(CONFIGURATION_HEADER, FORWARDING) == Some(0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: i32) -> Vec<u8> {
        let header = [8_u16.to_ne_bytes(), kind.to_ne_bytes()].concat();
        [header, value.to_ne_bytes().to_vec()].concat()
    }

    fn loss(kind: u16, body: &[u8]) -> bool {
        is_loss(
            &Message {
                kind,
                sequence: 0,
                body,
            },
            7,
        )
    }

    #[test]
    fn what_is_taken_away_is_a_loss() {
        let link = |index: u32, flags: u32| [0, index, flags, 0].map(u32::to_ne_bytes).concat();
        assert!(loss(NEW_LINK, &link(7, 0x1042)) && loss(DELETED_LINK, &link(7, UP)));
        assert!(!loss(NEW_LINK, &link(7, UP)) && !loss(DELETED_LINK, &link(8, 0)));
        assert!(
            loss(DELETED_ADDRESS, &link(7, 0)[..8]) && !loss(DELETED_ADDRESS, &link(8, 0)[..8])
        );
        let route = |by: i32| [vec![0; ROUTE_HEADER], attribute(LEADS_BY, by)].concat();
        assert!(loss(DELETED_ROUTE, &route(7)) && !loss(DELETED_ROUTE, &route(8)));
        let configuration = |of: i32, forwarding: i32| {
            [
                vec![2, 0, 0, 0],
                attribute(OF, of),
                attribute(FORWARDING, forwarding),
            ]
            .concat()
        };
        assert!(loss(NEW_CONFIGURATION, &configuration(ALL, 0)));
        assert!(!loss(NEW_CONFIGURATION, &configuration(ALL, 1)));
        assert!(!loss(NEW_CONFIGURATION, &configuration(7, 0)));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(kind in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..64)) {
            loss(kind, &body);
        }
    }
}
