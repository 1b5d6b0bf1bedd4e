//! Conversations that the kernel keeps in mind, and that end when whoever had them goes.
//!
//! Rules decide of a conversation's first packet; the others pass because the kernel knows it (conntrack). So one of before would go on under
//! other rules, or be the next container's that has the address.

mod entry;
mod kernel;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use self::entry::Entry;

/// `IPPROTO_UDP`.
const UDP: u8 = 17;

/// Which conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meant {
    /// Those of these addresses, whichever side began.
    addresses: BTreeSet<IpAddr>,
    /// And of all addresses in these networks
    networks: Vec<IpNet>,
    /// but for these.
    others: BTreeSet<IpAddr>,
    /// Datagrams to these ports
    ports: BTreeSet<u16>,
    /// of these addresses that are led nowhere else.
    local: BTreeSet<IpAddr>,
}

impl Meant {
    /// Those of `addresses`.
    pub fn of(addresses: BTreeSet<IpAddr>) -> Self {
        Self {
            addresses,
            ..Self::default()
        }
    }

    /// Those of all addresses in `networks` that are not among `others`.
    pub fn in_networks(networks: Vec<IpNet>, others: BTreeSet<IpAddr>) -> Self {
        Self {
            networks,
            others,
            ..Self::default()
        }
    }

    /// Those of clients who sent datagrams to `ports` of the host's addresses `local` before these led anywhere: for as long as they go on
    /// sending the kernel would not look at the rules.
    pub fn to_ports(ports: BTreeSet<u16>, local: BTreeSet<IpAddr>) -> Self {
        Self {
            ports,
            local,
            ..Self::default()
        }
    }

    /// Whether it is none at all.
    pub fn is_nothing(&self) -> bool {
        self.addresses.is_empty() && self.networks.is_empty() && self.ports.is_empty()
    }

    fn has(&self, entry: &Entry<'_>) -> bool {
        let is_meant = |address: &IpAddr| {
            let is_in = || {
                self.networks
                    .iter()
                    .any(|network| network.contains(address))
            };
            self.addresses.contains(address) || (is_in() && !self.others.contains(address))
        };
        entry.addresses().any(|address| is_meant(&address)) || self.has_port_of(entry)
    }

    fn has_port_of(&self, entry: &Entry<'_>) -> bool {
        let (asked, answers) = (&entry.original, &entry.reply);
        let is_ours = |address: IpAddr| address.is_loopback() || self.local.contains(&address);
        asked.protocol == Some(UDP)
            && asked.port.is_some_and(|port| self.ports.contains(&port))
            && asked.to == answers.from
            && asked.to.is_some_and(is_ours)
    }
}

/// Ends those that are `meant`, of the namespace that the calling thread is in; gives how many there were. It takes some 10 ms, as the
/// kernel looks through all that it knows, and 10 ms more for each thousand that end.
///
/// # Errors
/// When the kernel does not let them be seen or ended.
pub fn end(meant: &Meant) -> io::Result<usize> {
    if meant.is_nothing() {
        return Ok(0);
    }
    kernel::end(|entry| meant.has(entry))
}

#[cfg(test)]
mod tests;
