//! Datagrams of UDP ports that are carried: who speaks with whom, and how they travel on a stream.

mod flows;
mod frames;
#[cfg(feature = "host")]
pub mod own;

pub use flows::{Flows, Limit};
pub use frames::{Frames, write};

/// The largest datagram, in bytes.
pub const MAX_DATAGRAM: usize = 65_507;
