//! Empty ext4 disks: the writable layers of containers, and volumes.
//!
//! They are made by `mke2fs(8)` and never read here again: a file system that a guest has written to is its guest's alone.

mod empty;
mod format;

pub use empty::{prepare, unnamed};
pub use format::{DiskError, Format, make};
