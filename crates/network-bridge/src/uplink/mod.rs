//! How packets leave the network.

pub mod pasta;

use rustix::thread::CapabilitySet;

/// The way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uplink {
    /// A pair of interfaces, one of them the host's, and the host's address.
    Veth,
    /// The program `pasta`, which makes every connection a connection of its own.
    Pasta,
    /// There is none.
    None,
}

impl Uplink {
    /// The one for this process; none for an internal network.
    pub fn choose(internal: bool) -> Self {
        if internal {
            Self::None
        } else if may_administer() {
            Self::Veth
        } else {
            Self::Pasta
        }
    }

    /// Its word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Pasta => "pasta",
            Self::None => "none",
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
