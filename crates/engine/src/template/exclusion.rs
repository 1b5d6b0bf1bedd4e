//! Which devices keep a machine from being started from a template, and why.

use crate::device::{Device, DiskRole};
use crate::spec::VmSpec;

/// Why a machine has to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exclusion {
    /// Its kernel boots from a disk, and a template has none: the guest that is saved must not have mounted anything.
    #[error("it boots from a disk of its own")]
    BootsFromDisk,
    /// It has devices that no saved machine has.
    #[error("it has NICs or volumes")]
    MoreDevices,
}

impl VmSpec {
    /// Why this machine can be neither saved as a template nor started from one, if it cannot.
    pub fn excluded_from_templates(&self) -> Option<Exclusion> {
        if self.initramfs.is_none() {
            return Some(Exclusion::BootsFromDisk);
        }
        self.devices.iter().find_map(|device| match device {
            Device::Disk(disk) => match disk.role {
                DiskRole::Init => Some(Exclusion::BootsFromDisk),
                DiskRole::Volume(_) => Some(Exclusion::MoreDevices),
                DiskRole::Root | DiskRole::Upper => None,
            },
            Device::Nic(_) => Some(Exclusion::MoreDevices),
            Device::GuestChannel { .. }
            | Device::Console { .. }
            | Device::Balloon
            | Device::Entropy => None,
        })
    }
}
