//! The network's namespace: who keeps it, and who works in it.

pub mod agent;
pub mod holder;
pub mod inside;
