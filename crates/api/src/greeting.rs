//! How a guest and its host find each other: both sides have these from here.

use serde::{Deserialize, Serialize};

/// Name of the virtio-serial port that carries the guest channel. Its number depends on the devices before it.
pub const PORT: &str = "container.guest";
/// What the guest's first line starts with: the protocol's name and version.
pub const MAGIC: &str = "CONTAINER-GUEST 1 ";
/// Most bytes of that line, with its newline.
pub const LIMIT: usize = 512;

/// What the guest's first line says after [`MAGIC`], as JSON: moments of its start, in nanoseconds of its `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// `main` of vminitd.
    #[serde(default)]
    pub pid1_ns: u64,
}
