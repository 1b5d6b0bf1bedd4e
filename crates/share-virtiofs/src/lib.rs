//! The process of a machine's shares: it serves directories and files of the host to one guest.

mod clone;
pub mod command;
pub mod filter;
mod identity;
mod mount;
pub mod namespaces;
mod owners;
mod privileges;
pub mod request;
mod root;
pub mod serve;

pub use identity::Identity;
