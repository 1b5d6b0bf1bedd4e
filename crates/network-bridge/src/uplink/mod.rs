//! How packets leave the network.

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

    /// Its own networks, under whose addresses packets leave; none where they leave under their own.
    pub fn networks(self) -> Vec<IpNet> {
        match self {
            Self::User(Some(program)) => program.networks(),
            Self::Veth | Self::User(None) | Self::None => Vec::new(),
        }
    }

    /// The one for this process; none for an internal network.
    pub fn choose(internal: bool) -> Self {
        if internal {
            Self::None
        } else if may_administer() {
            Self::Veth
        } else {
            Self::User(None)
        }
    }

    /// As it is told.
    pub const fn message(self) -> network::Uplink {
        match self {
            Self::Veth => network::Uplink::Veth,
            Self::User(Some(Program::Pasta)) => network::Uplink::Pasta,
            Self::User(Some(Program::Slirp4netns)) => network::Uplink::Slirp4netns,
            Self::User(None) | Self::None => network::Uplink::None,
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
