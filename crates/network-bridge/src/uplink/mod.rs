//! How packets leave the network, and how the host reaches it.

pub mod keeper;
mod pasta;
mod slirp4netns;
pub mod user;

use container_api::network;
use ipnet::IpNet;
use rustix::thread::CapabilitySet;

use self::user::Program;

/// The way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uplink {
    /// A pair of interfaces, one of them the host's, and the host's address.
    Veth,
    /// The same pair for an internal network: the host reaches who is there, and nothing leaves.
    Inward,
    /// A program that makes every connection one of its own; none: there is no such program.
    User(Option<Program>),
    /// There is none.
    None,
}

impl Uplink {
    /// Whether it is that of an ordinary user.
    pub const fn is_users(self) -> bool {
        matches!(self, Self::User(_))
    }

    /// Whether the host has an interface to the network.
    pub const fn is_pair(self) -> bool {
        matches!(self, Self::Veth | Self::Inward)
    }

    /// Whether packets are led out, or would be if there were a program.
    pub const fn leads_out(self) -> bool {
        matches!(self, Self::Veth | Self::User(_))
    }

    /// Its own networks, under whose addresses packets leave; none where they leave under their own.
    pub fn networks(self) -> Vec<IpNet> {
        match self {
            Self::User(Some(program)) => program.networks(),
            Self::Veth | Self::Inward | Self::User(None) | Self::None => Vec::new(),
        }
    }

    /// The one for this process.
    pub fn choose(internal: bool) -> Self {
        match (internal, may_administer()) {
            (true, true) => Self::Inward,
            // A user's programs carry connections out, and none in: the host reaches what is published.
            (true, false) => Self::None,
            (false, true) => Self::Veth,
            (false, false) => Self::User(None),
        }
    }

    /// As it is told.
    pub const fn message(self) -> network::Uplink {
        match self {
            Self::Veth => network::Uplink::Veth,
            Self::User(Some(Program::Pasta)) => network::Uplink::Pasta,
            Self::User(Some(Program::Slirp4netns)) => network::Uplink::Slirp4netns,
            Self::Inward | Self::User(None) | Self::None => network::Uplink::None,
        }
    }
}

/// Whether this process may make interfaces on the host.
pub fn may_administer() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| {
        sets.effective
            .contains(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN)
    })
}
