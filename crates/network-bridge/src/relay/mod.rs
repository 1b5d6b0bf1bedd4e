//! Connections that the kernel can't lead: from containers to the host's loopback, and to published ports where it does not
//! forward.

pub mod asked;
pub mod host;
pub mod listening;
mod pace;
pub mod published;
mod refusal;
mod stream;
mod udp;
