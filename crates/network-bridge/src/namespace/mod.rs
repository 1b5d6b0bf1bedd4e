//! The network's namespace: who keeps it, and who works in it.

pub mod agent;
pub mod handle;
pub mod holder;
pub mod inside;
