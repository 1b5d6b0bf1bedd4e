//! Datagrams of UDP ports that are carried: who speaks with whom.

mod flows;
#[cfg(feature = "host")]
pub mod own;

pub use flows::{Flows, Limit};

/// The largest datagram, in bytes.
pub const MAX_DATAGRAM: usize = 65_507;
