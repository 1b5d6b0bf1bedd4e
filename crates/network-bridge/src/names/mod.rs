//! The process that answers questions for names, and what its network's process has to do with it.
//!
//! It alone reads what guests, and those who answer the host's resolvers, have written. So it is a process of its own, which has given up all
//! but its sockets (`confinement`); what it needs later it asks for, and the network's process looks at what that is.

mod ask;
mod datagrams;
mod exchange;
mod keeper;
mod outside;
pub mod process;

pub use ask::Asker;
pub use datagrams::Ways;
pub use keeper::Names;
pub use outside::{Outside, Silent};
