//! Layers: from a compressed tar to an EROFS image, in a process that owns nothing else.

pub mod bounds;
pub mod convert;
mod hashing;
pub mod member;
pub mod merge;
pub mod running;
mod sandbox;
pub mod unpack;
pub mod worker;

pub use hashing::Hashing;
