//! Ports of the host that lead into containers.

pub mod bind;
mod owner;
pub mod published;
