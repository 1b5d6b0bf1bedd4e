//! Trees of files as tar streams: what `cp`, `export`, `diff` and `commit` are made of, on the host and in the guest.

pub mod nameless;
pub mod operation;
pub mod pack;
pub mod place;
pub mod tar;
pub mod told;
pub mod unpack;
