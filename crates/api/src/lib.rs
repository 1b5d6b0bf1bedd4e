//! What the processes of `container` say to each other, and how.
//!
//! The generated modules mirror `proto/`, one per service. The rest is what every server and client of the
//! host shares: Unix sockets that only their owner may use, descriptors passed beside them, the error model,
//! and the places on disk.

#[cfg(feature = "host")]
pub mod arrivals;
pub mod call;
pub mod chain;
#[cfg(feature = "relay")]
pub mod datagrams;
#[cfg(feature = "host")]
pub mod descriptors;
pub mod devices;
pub mod error;
mod generated;
pub mod greeting;
#[cfg(feature = "host")]
pub mod guest_channel;
#[cfg(feature = "host")]
pub mod guest_files;
pub mod guest_paths;
#[cfg(feature = "host")]
pub mod handover;
#[cfg(feature = "host")]
pub mod hardening;
#[cfg(feature = "host")]
pub mod hello;
#[cfg(feature = "host")]
pub mod inherited;
#[cfg(feature = "host")]
pub mod lifeline;
#[cfg(feature = "relay")]
pub mod listening;
#[cfg(feature = "host")]
pub mod liveness;
#[cfg(feature = "host")]
pub mod lock;
#[cfg(feature = "host")]
pub mod log;
#[cfg(feature = "host")]
pub mod memory;
#[cfg(feature = "host")]
pub mod plugin;
pub mod process;
#[cfg(feature = "host")]
pub mod protocol;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(feature = "host")]
pub mod request;
#[cfg(feature = "host")]
mod rights;
#[cfg(feature = "host")]
pub mod roots;
#[cfg(feature = "host")]
pub mod socket;
pub mod streams;

pub use chain::Chain;
pub use error::{Error, Kind};
pub use generated::{
    api::v1 as api, guest::v1 as guest, images::v1 as images, machine::v1 as machine,
    network::v1 as network, runtime::v1 as runtime, types::v1 as types, volume::v1 as volume,
};
