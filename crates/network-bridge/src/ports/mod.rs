//! Ports of the host that lead into containers.

pub mod bind;
pub mod door;
pub mod owner;
pub mod published;
