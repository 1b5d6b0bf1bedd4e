//! How each device comes to a machine that is started from a template: the one place that says so.
//!
//! A template is saved with the devices that every container's machine has, and with empty transports that are named on the
//! kernel's command line. Whatever else a machine has is put behind them when it is restored, as in a machine that is
//! switched on: the saved state says nothing of it, and the guest binds its driver when it is told to start.
//!
//! The container's two disks could come late, too. Under an emulator their drivers' first steps then cost every start some 40 ms
//! (of 500), so they are saved, empty, and what is behind them is exchanged.

use crate::device::{Device, DiskRole};
use crate::qemu::device::place;
use crate::spec::VmSpec;

/// Why a machine has to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exclusion {
    /// Its kernel boots from a disk: nothing can be put behind a root file system that is mounted.
    #[error("its kernel boots from a disk")]
    BootsFromDisk,
    /// With so many NICs the container's own disks would be in other places than those that were saved.
    #[error("it has more devices than a restored machine has places for")]
    Crowded,
    /// Its memory is also that of the process that serves a share. QEMU 7.2 restores no machine with such a device ("State blocked by
    /// non-migratable device"), and a template's memory is nobody's to write to.
    #[error("it has a share of the host's files")]
    Share,
}

/// How a device comes to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is saved with the template.
    Saved,
    /// It is put there when the machine is restored.
    Late,
    /// A machine that has it is not restored.
    Never(Exclusion),
}

/// How `device` comes to a machine that is started from a template.
pub(crate) fn arrival(device: &Device) -> Arrival {
    match device {
        Device::GuestChannel { .. }
        | Device::Console { .. }
        | Device::Balloon
        | Device::Entropy => Arrival::Saved,
        Device::Nic(_) => Arrival::Late,
        Device::Share(_) => Arrival::Never(Exclusion::Share),
        Device::Disk(disk) => match disk.role {
            DiskRole::Init => Arrival::Never(Exclusion::BootsFromDisk),
            DiskRole::Root | DiskRole::Upper => Arrival::Saved,
            DiskRole::Volume(_) => Arrival::Late,
        },
    }
}

/// Whether `device` is saved with a template.
pub(crate) fn is_saved(device: &Device) -> bool {
    arrival(device) == Arrival::Saved
}

impl VmSpec {
    /// Why this machine can be neither saved as a template nor started from one, if it cannot.
    pub fn excluded_from_templates(&self) -> Option<Exclusion> {
        if self.initramfs.is_none() {
            return Some(Exclusion::BootsFromDisk);
        }
        let never = self
            .devices
            .iter()
            .find_map(|device| match arrival(device) {
                Arrival::Never(reason) => Some(reason),
                Arrival::Saved | Arrival::Late => None,
            });
        never.or_else(|| match place::late(&self.devices, is_saved) {
            Some(_) => None,
            None => Some(Exclusion::Crowded),
        })
    }

    /// How many transports of a machine that is restored as this one have come since it was saved: the guest binds as many.
    pub(crate) fn late_devices(&self) -> u32 {
        let late = place::late(&self.devices, is_saved);
        late.and_then(|late| u32::try_from(late).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::*;
    use crate::device::{Disk, Share};
    use crate::spec::Accelerator;

    fn spec(roles: &[DiskRole]) -> VmSpec {
        let disks = roles.iter().map(|role| Disk::empty(*role, 512, true));
        let mut devices = vec![Device::Balloon, Device::Entropy];
        devices.extend(disks.map(Device::Disk));
        VmSpec {
            kernel: "/k".into(),
            initramfs: Some("/i".into()),
            command_line: String::new(),
            vcpus: NonZeroU32::MIN,
            memory_bytes: 1 << 30,
            devices,
            accelerator: Accelerator::Tcg,
            nested_virtualization: false,
        }
    }

    #[test]
    fn volumes_come_late_and_a_share_or_a_disk_to_boot_from_never() {
        let mut roles = vec![DiskRole::Root, DiskRole::Upper];
        assert_eq!(spec(&roles).excluded_from_templates(), None);
        assert_eq!(spec(&roles).late_devices(), 0);
        roles.extend([DiskRole::Volume(0), DiskRole::Volume(1)]);
        assert_eq!(spec(&roles).excluded_from_templates(), None);
        assert_eq!(spec(&roles).late_devices(), 2);
        let mut shared = spec(&roles);
        let server = std::fs::File::open("/dev/null").unwrap();
        shared.devices.push(Device::Share(Share {
            tag: "shares".into(),
            server: Arc::new(server.into()),
        }));
        let never = Some(Exclusion::Share);
        assert_eq!(shared.excluded_from_templates(), never);
        roles.push(DiskRole::Init);
        let excluded = Some(Exclusion::BootsFromDisk);
        assert_eq!(spec(&roles).excluded_from_templates(), excluded);
        let mut without = spec(&roles[..2]);
        without.initramfs = None;
        assert_eq!(without.excluded_from_templates(), excluded);
    }
}
