//! How each device comes to a machine that is started from a template: the one place that says so.
//!
//! A template is saved with the devices that every container's machine has, and with empty transports that are named on the
//! kernel's command line. Whatever else a machine has is put behind them when it is restored, as in a machine that is
//! switched on: the saved state says nothing of it, and the guest binds its driver when it is told to start.
//!
//! The container's two disks, and its first NIC, could come late, too. Under an emulator their drivers' first steps then cost every start
//! some 40 ms (of 500), so they are saved: disks are empty, and their contents are exchanged. The NIC has an unused address, and a tap that
//! is on no network. So there is one template with a NIC and one without.

use crate::device::{Device, DiskRole};
use crate::engine::Engine;
use crate::spec::VmSpec;
use crate::vmm::Capabilities;

/// Why a machine has to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exclusion {
    /// The VMM cannot do it.
    #[error("its VMM saves no machines")]
    NoTemplates,
    /// Its kernel boots from a disk: nothing can be put behind a root file system that is mounted.
    #[error("its kernel boots from a disk")]
    BootsFromDisk,
    /// Transports that are empty when it is saved are named on the kernel's command line, which such a kernel does not look at.
    #[error("its kernel is one of a distribution, with modules")]
    FirmwareTables,
    /// Its memory is also that of the process that serves a share. QEMU 7.2 restores no machine with such a device ("State blocked by
    /// non-migratable device"), and a template's memory is nobody's to write to.
    #[error("it has a share of the host's files")]
    Share,
    /// The VMM cannot do it.
    #[error("it has a NIC or a volume, which its VMM does not put on a restored machine")]
    LateDevice,
    /// With so many NICs the container's own disks would be in other places than those that were saved.
    #[error("it has more devices than a restored machine has places for")]
    Crowded,
}

impl Exclusion {
    /// Those that a machine may meet under a VMM that `can` do this.
    fn under(can: Capabilities) -> Vec<Self> {
        if !can.templates {
            return vec![Self::NoTemplates];
        }
        let late = if can.late_devices {
            Self::Crowded
        } else {
            Self::LateDevice
        };
        vec![Self::BootsFromDisk, Self::FirmwareTables, Self::Share, late]
    }
}

/// How a device comes to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// It is saved with the template.
    Saved,
    /// It is put there when the machine is restored.
    Late,
    /// A machine that has it is not restored.
    Never(Exclusion),
}

/// How `device` comes to a machine that is started from a template.
fn arrival(device: &Device) -> Arrival {
    match device {
        Device::GuestChannel { .. }
        | Device::Console { .. }
        | Device::Balloon
        | Device::Entropy => Arrival::Saved,
        Device::Nic(nic) if nic.saved => Arrival::Saved,
        Device::Nic(_) | Device::SpareNic(_) => Arrival::Late,
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

impl Engine {
    /// Why the machine `spec` can be neither saved as a template nor started from one, if it cannot.
    pub fn excluded_from_templates(&self, spec: &VmSpec) -> Option<Exclusion> {
        let can = self.capabilities();
        if !can.templates {
            return Some(Exclusion::NoTemplates);
        }
        if spec.initramfs.is_none() {
            return Some(Exclusion::BootsFromDisk);
        }
        if spec.firmware_tables {
            return Some(Exclusion::FirmwareTables);
        }
        let mut comes_late = false;
        for device in &spec.devices {
            match arrival(device) {
                Arrival::Saved => {}
                Arrival::Late => comes_late = true,
                Arrival::Never(reason) => return Some(reason),
            }
        }
        if comes_late && !can.late_devices {
            return Some(Exclusion::LateDevice);
        }
        let keeps_places = self.vmm.keeps_places(&spec.devices, is_saved);
        (!keeps_places).then_some(Exclusion::Crowded)
    }

    /// What keeps machines of this host from being started from a template, for people to read.
    pub fn exclusions(&self) -> Vec<Exclusion> {
        Exclusion::under(self.capabilities())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::*;
    use crate::device::{Disk, Share};
    use crate::scripted::Script;
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
            accelerator: Accelerator::Software,
            firmware_tables: false,
            nested_virtualization: false,
        }
    }

    #[test]
    fn volumes_come_late_and_a_share_or_a_disk_to_boot_from_never() {
        let engine = Script::new(drop).engine().unwrap();
        let mut roles = vec![DiskRole::Root, DiskRole::Upper];
        assert_eq!(engine.excluded_from_templates(&spec(&roles)), None);
        roles.extend([DiskRole::Volume(0), DiskRole::Volume(1)]);
        assert_eq!(engine.excluded_from_templates(&spec(&roles)), None);
        let mut shared = spec(&roles);
        let server = std::fs::File::open("/dev/null").unwrap();
        shared.devices.push(Device::Share(Share {
            tag: "shares".into(),
            server: Arc::new(server.into()),
        }));
        let never = Some(Exclusion::Share);
        assert_eq!(engine.excluded_from_templates(&shared), never);
        roles.push(DiskRole::Init);
        let excluded = Some(Exclusion::BootsFromDisk);
        assert_eq!(engine.excluded_from_templates(&spec(&roles)), excluded);
        let mut tables = spec(&roles[..2]);
        tables.firmware_tables = true;
        let never = Some(Exclusion::FirmwareTables);
        assert_eq!(engine.excluded_from_templates(&tables), never);
        let mut without = spec(&roles[..2]);
        without.initramfs = None;
        assert_eq!(engine.excluded_from_templates(&without), excluded);
    }

    #[test]
    fn what_the_vmm_lacks_excludes_and_is_told() {
        let mut script = Script::new(drop);
        script.capabilities.late_devices = false;
        let engine = script.engine().unwrap();
        let roles = [DiskRole::Root, DiskRole::Volume(0)];
        assert_eq!(engine.excluded_from_templates(&spec(&roles[..1])), None);
        let late = Exclusion::LateDevice;
        assert_eq!(engine.excluded_from_templates(&spec(&roles)), Some(late));
        assert!(engine.exclusions().contains(&late));
        script.capabilities.templates = false;
        let engine = script.engine().unwrap();
        let never = Exclusion::NoTemplates;
        let excluded = engine.excluded_from_templates(&spec(&roles[..1]));
        assert_eq!(excluded, Some(never));
        assert_eq!(engine.exclusions(), [never]);
    }
}
