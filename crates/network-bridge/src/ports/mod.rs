//! Ports of the host that lead into containers.

pub mod published;
