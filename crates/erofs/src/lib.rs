//! EROFS images, written and read without root and without a temporary tree.
//!
//! Two kinds of image are made here:
//!
//! * A **layer** is self-contained. [`LayerWriter`] appends file data as it arrives, each file in one
//!   contiguous run of blocks, and writes all metadata behind it once the tree is known. Deletions are
//!   stored as overlayfs stores them, so that a kernel can stack layers as they are.
//! * A **view** is the merged root of many layers and holds metadata only. Its files point into the
//!   layers' own blocks on a *composed disk*: the view, then each layer image, one after the other.
//!   [`View::merge`] makes it; no file data is copied.
//!
//! [`Image`] reads either kind and trusts nothing that it reads.
//!
//! The format is that of the kernel's `fs/erofs/erofs_fs.h`, with 4 KiB blocks, uncompressed.

mod apply;
mod crc32c;
mod directory;
mod format;
mod image;
mod layer;
mod plan;
mod source;
mod tree;
mod view;
mod walk;
mod xattr;

pub use format::{BLOCK_SIZE, Device};
pub use image::{Image, ReadError};
pub use layer::{FileWriter, LayerWriter, WriteError};
pub use source::ReadAt;
pub use tree::{
    Directory, FileData, Inode, InodeId, Kind, Limits, Metadata, Timestamp, Tree, TreeError,
};
pub use view::{MAX_LAYERS, MergeError, View};
pub use xattr::{MAX_XATTR_BYTES, Xattrs};

/// Keeps the example of the README true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
