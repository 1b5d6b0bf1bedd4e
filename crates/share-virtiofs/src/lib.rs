//! The process of a machine's shares: it serves directories and files of the host to one guest.

mod answers;
mod clone;
pub mod command;
mod crowd;
pub mod filter;
mod identity;
mod kernel_mounts;
mod leases;
mod local_mounts;
mod locks;
mod mount;
pub mod namespaces;
mod owners;
mod privileges;
pub mod request;
mod root;
pub mod serve;

pub use identity::Identity;
