//! Layers: from a compressed tar to an EROFS image, in a process that owns nothing else.

pub mod convert;
mod hashing;
pub mod member;
mod sandbox;
pub mod unpack;
pub mod worker;

pub use hashing::Hashing;
