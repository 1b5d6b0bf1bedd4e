//! Empty ext4 disks: the writable layers of containers, and volumes.
//!
//! They are made by `mke2fs(8)` and, copied as a whole perhaps, never read here again but for two marks: a file system that a guest has
//! written to is its guest's alone.

mod copy;
mod empty;
mod format;
mod replay;

pub use copy::{Progress, copy, copy_until};
pub use empty::{prepare, unnamed};
pub use format::{DiskError, Format, WIDE, make};
pub use replay::{is_ext4, is_unused, needs_replay};
