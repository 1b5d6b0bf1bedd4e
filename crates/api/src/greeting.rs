//! How a guest and its host find each other: both sides have these from here.

/// Name of the virtio-serial port that carries the guest channel. Its number depends on the devices before it.
pub const PORT: &str = "container.guest";
/// What the guest's first line starts with: the protocol's name and version.
pub const MAGIC: &str = "CONTAINER-GUEST 1 ";
/// Most bytes of that line, with its newline.
pub const LIMIT: usize = 512;
