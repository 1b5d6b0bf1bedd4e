//! File systems and devices that a container gets.

use serde::{Deserialize, Serialize};

/// A device of the guest, or a directory of devices, that a container gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Absolute path in the guest's own `/dev`.
    pub path: String,
    /// Absolute path in the container.
    pub destination: String,
    /// What it may be used for: letters of `rwm` (read, write, make nodes of it).
    pub access: String,
}

/// A file system mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Kind of file system.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// Path on the host, or of the volume's image; `tmpfs` for one of those.
    pub source: String,
    /// Absolute path in the container.
    pub destination: String,
    /// `ro`, `size=…` and the like.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Mount {
    /// Whether it is served by a share of the machine.
    pub fn is_shared(&self) -> bool {
        matches!(self.kind, MountKind::Virtiofs {})
    }

    /// Whether `ro` is the last word on it.
    pub fn is_read_only(&self) -> bool {
        let mut options = self.options.iter().rev();
        options
            .find(|option| matches!(option.as_str(), "ro" | "rw"))
            .is_some_and(|option| option == "ro")
    }
}

/// Kind of a [`Mount`]. An enum value is an object with one key, as Swift writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MountKind {
    /// Memory of the guest.
    Tmpfs {},
    /// A directory or a file of the host.
    Virtiofs {},
    /// A Unix socket of the host: one of the guest's that leads to it.
    Socket {},
    /// A named volume.
    Volume {
        /// Volume's name.
        name: String,
        /// `ext4`.
        format: String,
        /// It was made for this mount, which gave it no name, and goes with the container.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        anonymous: bool,
        /// Whether the host keeps what is read and written in memory.
        #[serde(default)]
        cache: CacheMode,
        /// What a write that the guest has flushed waits for.
        #[serde(default)]
        sync: SyncMode,
    },
}

/// Whether the host's memory holds what is on a disk. All of ours are so; the value is for readers of Apple's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CacheMode {
    /// It does.
    On {},
}

impl Default for CacheMode {
    fn default() -> Self {
        Self::On {}
    }
}

/// What the host does when a guest flushes a disk. The value is for readers of Apple's JSON, as that of [`CacheMode`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SyncMode {
    /// `fsync`(2) of the disk's file.
    Fsync {},
}

impl Default for SyncMode {
    fn default() -> Self {
        Self::Fsync {}
    }
}
