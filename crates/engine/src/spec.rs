//! What a virtual machine is made of, free of any VMM's vocabulary.

use std::num::NonZeroU32;
use std::path::PathBuf;

use crate::device::{Device, Disk, Nic, Share};

/// Everything that decides how a virtual machine looks from inside.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// Kernel image: an ELF `vmlinux` with a PVH entry, or a bzImage.
    pub kernel: PathBuf,
    /// Initial RAM file system with the guest's first process. Without one the kernel boots from the disk
    /// [`DiskRole::Init`](crate::DiskRole::Init).
    pub initramfs: Option<PathBuf>,
    /// The caller's part of the kernel command line. The engine puts before it what its machine needs
    /// (console, reboot and panic behaviour, clock, root).
    pub command_line: String,
    /// Virtual CPUs; at most [`crate::host::vcpu_limit`].
    pub vcpus: NonZeroU32,
    /// Guest memory in bytes, a multiple of 1 MiB.
    pub memory_bytes: u64,
    /// Its devices, in any order: each is known by its role. Of the guest channel, the console, the balloon and the source of
    /// entropy there is one each at most.
    pub devices: Vec<Device>,
    /// Who executes the guest's instructions.
    pub accelerator: Accelerator,
    /// The kernel learns of the machine's devices by firmware tables (ACPI), not by its command line. Kernels of distributions may know
    /// no other way (`CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES`); ours does without, and so without the time that reading them takes.
    pub firmware_tables: bool,
    /// Let the guest use the CPU's virtualization extensions.
    pub nested_virtualization: bool,
}

/// Executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The host's CPU, through `/dev/kvm`.
    Kvm,
    /// Translation in software: works everywhere, about ten times slower.
    Software,
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Software => "software emulation",
        })
    }
}

impl VmSpec {
    /// Its disks.
    pub fn disks(&self) -> impl Iterator<Item = &Disk> {
        self.devices.iter().filter_map(|device| match device {
            Device::Disk(disk) => Some(disk),
            _ => None,
        })
    }

    /// Its disks, to be changed.
    pub fn disks_mut(&mut self) -> impl Iterator<Item = &mut Disk> {
        self.devices.iter_mut().filter_map(|device| match device {
            Device::Disk(disk) => Some(disk),
            _ => None,
        })
    }

    /// Its network interfaces.
    pub fn nics(&self) -> impl Iterator<Item = &Nic> {
        self.devices.iter().filter_map(|device| match device {
            Device::Nic(nic) => Some(nic),
            _ => None,
        })
    }

    /// Whether a machine that was started as `other` can become this one ([`Vm::exchange_disks`](crate::Vm::exchange_disks)): it has
    /// disks of the same roles, sizes and access, as many NICs, with the same MTUs and with vhost-net or without, and as many spare ones. Everything else is the template's.
    pub fn has_devices_of(&self, other: &Self) -> bool {
        let disks = |spec: &Self| {
            let disks = spec.disks();
            let mut disks: Vec<_> = disks
                .map(|disk| (disk.role, disk.size, disk.read_only))
                .collect();
            disks.sort_unstable();
            disks
        };
        let nics = |spec: &Self| {
            let nics = spec.nics().map(|nic| (nic.mtu, nic.vhost.is_some()));
            nics.collect::<Vec<_>>()
        };
        let spare = |spec: &Self| {
            let devices = spec.devices.iter();
            let spare = devices.filter(|device| matches!(device, Device::SpareNic(_)));
            spare.count()
        };
        disks(self) == disks(other) && nics(self) == nics(other) && spare(self) == spare(other)
    }

    /// Its shares.
    pub fn shares(&self) -> impl Iterator<Item = &Share> {
        self.devices.iter().filter_map(|device| match device {
            Device::Share(share) => Some(share),
            _ => None,
        })
    }

    /// Whether it has a balloon.
    pub(crate) fn has_balloon(&self) -> bool {
        let mut devices = self.devices.iter();
        devices.any(|device| matches!(device, Device::Balloon))
    }

    /// File that receives what the guest's kernel says.
    pub fn console_record(&self) -> Option<&PathBuf> {
        self.devices.iter().find_map(|device| match device {
            Device::Console { record } => record.as_ref(),
            _ => None,
        })
    }

    /// Has what the guest's kernel says recorded in `file`.
    pub fn record_console(&mut self, file: PathBuf) {
        for device in &mut self.devices {
            if let Device::Console { record } = device {
                *record = Some(file);
                return;
            }
        }
        self.devices.push(Device::Console { record: Some(file) });
    }
}
