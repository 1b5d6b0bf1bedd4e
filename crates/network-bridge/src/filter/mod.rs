//! Rules: what a machine may send, where it may go, and how the host leads to it.
//!
//! Scripts of nft(8), each one transaction. They say what shall be, whatever was before, so that they can be given again; but for what
//! admits a member, which is given at every start and must be quick.

#![allow(
    clippy::format_push_string,
    reason = "scripts are short, and are to be read as nft reads them"
)]

pub mod frames;
pub mod host;
pub mod member;
pub mod packets;
pub mod run;
pub mod watch;

/// The tables in the network's namespace, one of each family.
pub const TABLE: &str = "container";

#[cfg(test)]
mod tests;
