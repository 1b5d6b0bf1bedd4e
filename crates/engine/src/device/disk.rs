//! Block devices.

use std::path::{Path, PathBuf};

/// Unit of disk addressing, in bytes.
pub const SECTOR: u64 = 512;

/// Most extents that one disk may have: each costs the VMM a file descriptor.
pub const MAX_EXTENTS: usize = 512;

/// A block device of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What it is for. No two disks of a machine have the same role.
    pub role: DiskRole,
    /// What the disk consists of, in order. A writable disk has exactly one extent, which covers
    /// its whole file. Without extents a disk is empty, and what is written to it is in memory.
    pub extents: Vec<Extent>,
    /// Size that the guest sees, in bytes: a multiple of [`SECTOR`], at least the sum of the
    /// extents. What they don't cover reads as zeroes.
    pub size: u64,
    /// The host opens the files read-only, so nothing in the guest or the VMM can write to them.
    pub read_only: bool,
}

/// What a disk is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum DiskRole {
    /// The guest's own root file system, which its kernel mounts: the engine names it on the command line (`root=`).
    Init,
    /// The image's root.
    Root,
    /// The writable layer over the image's root.
    Upper,
    /// A volume; the number tells it from the others of its machine.
    Volume(u32),
}

/// A range of a file of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The file. Its bytes are taken as they are: no image format is ever detected.
    pub path: PathBuf,
    /// First byte, a multiple of [`SECTOR`].
    pub offset: u64,
    /// Length in bytes, a multiple of [`SECTOR`].
    pub length: u64,
}

impl DiskRole {
    /// The serial number by which the guest finds the disk: `init`, `root`, `upper`, `volume-<n>`. A virtio disk tells it in
    /// `/sys/block/*/serial`, one behind the SCSI controller on page 0x80 of its vital product data
    /// (`/sys/block/*/device/vpd_pg80`). At most 20 bytes, which is what virtio has room for.
    pub fn serial(self) -> String {
        match self {
            Self::Init => "init".to_owned(),
            Self::Root => "root".to_owned(),
            Self::Upper => "upper".to_owned(),
            Self::Volume(number) => format!("volume-{number}"),
        }
    }
}

impl std::fmt::Display for DiskRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.serial())
    }
}

impl Disk {
    /// A writable disk: the whole of `path`, `size` bytes long.
    pub fn writable(role: DiskRole, path: &Path, size: u64) -> Self {
        Self::whole(role, path, size, false)
    }

    /// A read-only disk: the whole of `path`, `size` bytes long.
    pub fn read_only(role: DiskRole, path: &Path, size: u64) -> Self {
        Self::whole(role, path, size, true)
    }

    /// A disk with nothing on it, `size` bytes long.
    pub fn empty(role: DiskRole, size: u64, read_only: bool) -> Self {
        Self {
            role,
            extents: Vec::new(),
            size,
            read_only,
        }
    }

    fn whole(role: DiskRole, path: &Path, size: u64, read_only: bool) -> Self {
        let extent = Extent {
            path: path.to_owned(),
            offset: 0,
            length: size,
        };
        Self {
            extents: vec![extent],
            ..Self::empty(role, size, read_only)
        }
    }

    /// Bytes covered by extents, or `None` if the sum does not fit.
    pub(crate) fn covered(&self) -> Option<u64> {
        self.extents
            .iter()
            .try_fold(0u64, |sum, extent| sum.checked_add(extent.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_distinct_and_fit() {
        let roles = [
            DiskRole::Init,
            DiskRole::Root,
            DiskRole::Upper,
            DiskRole::Volume(0),
            DiskRole::Volume(u32::MAX),
        ];
        let serials = roles.map(DiskRole::serial);
        for (index, serial) in serials.iter().enumerate() {
            assert!(serial.len() <= 20, "{serial}");
            assert!(!serials[..index].contains(serial), "{serial}");
        }
    }
}
