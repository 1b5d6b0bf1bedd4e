//! Ports of the host that lead into containers.

pub mod bind;
pub mod door;
mod owner;
pub mod published;
