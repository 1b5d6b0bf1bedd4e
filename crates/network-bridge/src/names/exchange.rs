//! What both processes say to each other, as messages of `container_api::handover`.

use std::net::IpAddr;

use container_resource::dns_domain::DnsDomain;
use serde::{Deserialize, Serialize};

use crate::directory::{About, Entry};
use crate::refused_names::Tally;

/// The beginning. Beside it travel three sockets to ask on, for servers, for rules and for names of other networks, and for each gateway the socket
/// for datagrams and the one for connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begin(pub About);

/// Who is on the network from now on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// Counts the changes.
    pub version: u64,
    /// The containers.
    pub entries: Vec<Entry>,
    /// Domains under which they are known, too.
    pub domains: Vec<DnsDomain>,
}

/// The table of that version is what answers are made of.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Heard(pub u64);

/// What the confined process asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// A socket that leads to the host's resolver with that number, the first being 0.
    Server {
        /// Its place in `/etc/resolv.conf`.
        number: usize,
        /// By TCP.
        stream: bool,
    },
    /// The addresses of a name on the other networks of the container behind a tap.
    Addresses {
        /// The container's tap.
        tap: String,
        /// In lower case, without a dot at its end.
        name: String,
    },
    /// The name of an address, in the same way.
    Name {
        /// The container's tap.
        tap: String,
        /// An address.
        address: IpAddr,
    },
    /// That the container behind a tap reaches addresses by one of its rules.
    Learn {
        /// The container's tap.
        tap: String,
        /// Place of the rule.
        rule: usize,
        /// Addresses.
        addresses: Vec<IpAddr>,
        /// For how long, in seconds.
        seconds: u32,
    },
    /// That these names are counted as refused to the container behind a tap.
    Refused {
        /// The container's tap.
        tap: String,
        /// Those since the last time.
        tally: Tally,
    },
}

/// The answer. A socket travels beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done, as far as it is allowed.
    Done,
    /// There is no such server, or name.
    Nothing,
    /// Those of the name.
    Addresses(Vec<IpAddr>),
    /// That of the address.
    Name(String),
    /// It could not be done.
    Failed(String),
}
