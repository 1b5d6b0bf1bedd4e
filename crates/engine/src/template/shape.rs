//! What a template was made for. A machine can only be restored into its equal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::device::{Device, DiskRole};
use crate::identity::FileIdentity;
use crate::spec::{Accelerator, VmSpec};
use crate::template::devices::is_saved;

/// Changes when a machine of the same specification would look different to its guest.
const REVISION: u32 = 3;

/// Everything that must be equal between the machine that was saved and the one restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    revision: u32,
    vmm: FileIdentity,
    kernel: FileIdentity,
    initramfs: Option<FileIdentity>,
    command_line: String,
    vcpus: u32,
    memory_bytes: u64,
    /// Those that are saved: role, size, access.
    disks: Vec<(DiskRole, u64, bool)>,
    /// The devices that every machine has, in words.
    fixed: Vec<String>,
    accelerator: Accelerator,
    nested_virtualization: bool,
    cpu: String,
    tsc_khz: u64,
}

impl Shape {
    /// The shape of `spec` on this host under the VMM `vmm`.
    pub(crate) fn of(spec: &VmSpec, vmm: &FileIdentity, tsc_khz: u64) -> io::Result<Self> {
        Ok(Self {
            revision: REVISION,
            vmm: vmm.clone(),
            kernel: FileIdentity::of(&spec.kernel)?,
            initramfs: spec
                .initramfs
                .as_deref()
                .map(FileIdentity::of)
                .transpose()?,
            command_line: spec.command_line.clone(),
            vcpus: spec.vcpus.get(),
            memory_bytes: spec.memory_bytes,
            disks: sorted(spec.devices.iter().filter_map(saved_disk)),
            fixed: sorted(spec.devices.iter().filter_map(fixed)),
            accelerator: spec.accelerator,
            nested_virtualization: spec.nested_virtualization,
            cpu: cpu(Path::new("/proc/cpuinfo"))?,
            tsc_khz,
        })
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// A name for the shape: 32 hexadecimal digits.
    pub(crate) fn key(&self) -> String {
        // A structure of strings and integers always has a JSON form.
        let text = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(&Sha256::digest(text)[..16])
    }
}

fn sorted<T: Ord>(list: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<_> = list.collect();
    list.sort_unstable();
    list
}

fn saved_disk(device: &Device) -> Option<(DiskRole, u64, bool)> {
    match device {
        Device::Disk(disk) if is_saved(device) => Some((disk.role, disk.size, disk.read_only)),
        _ => None,
    }
}

/// What there is to know of a device that is the same in all machines.
fn fixed(device: &Device) -> Option<String> {
    match device {
        Device::GuestChannel { name } => Some(format!("channel {name}")),
        Device::Console { .. } | Device::Balloon | Device::Entropy => Some(device.name()),
        Device::Nic(nic) if is_saved(device) => {
            let vhost = if nic.vhost.is_some() { " vhost" } else { "" };
            Some(format!("nic {} {}{vhost}", nic.mac, nic.mtu))
        }
        Device::Disk(_) | Device::Nic(_) | Device::SpareNic(_) | Device::Share(_) => None,
    }
}

/// Model and features of the first CPU; what else `cpuinfo` tells changes from moment to moment.
fn cpu(cpuinfo: &Path) -> io::Result<String> {
    const FIELDS: [&str; 6] = [
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping",
        "flags",
    ];
    // The kernel makes the text as it is read: the first CPU's lines are all that is wanted.
    let mut text = vec![0; 4096];
    let length = File::open(cpuinfo)?.read(&mut text)?;
    let text = String::from_utf8_lossy(&text[..length]);
    let first = text.split("\n\n").next().unwrap_or_default();
    let lines = first.lines().filter(|line| {
        line.split_once(':')
            .is_some_and(|(name, _)| FIELDS.contains(&name.trim_end()))
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::device::{Disk, MacAddress, Nic};

    fn spec(file: &Path) -> VmSpec {
        VmSpec {
            kernel: file.to_owned(),
            initramfs: Some(file.to_owned()),
            command_line: "quiet".into(),
            vcpus: NonZeroU32::MIN,
            memory_bytes: 1 << 30,
            devices: vec![
                Device::Disk(Disk::read_only(DiskRole::Root, file, 512)),
                Device::GuestChannel { name: "c".into() },
                Device::Console { record: None },
            ],
            accelerator: Accelerator::Software,
            firmware_tables: false,
            nested_virtualization: false,
        }
    }

    #[test]
    fn every_difference_that_a_guest_could_see_changes_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let vmm = FileIdentity::of(&path).unwrap();
        let key = |spec: &VmSpec, tsc| Shape::of(spec, &vmm, tsc).unwrap().key();
        let base = spec(&path);
        let mut keys = vec![key(&base, 1), key(&base, 2)];
        let changes: [fn(&mut VmSpec); 11] = [
            |spec| spec.initramfs = None,
            |spec| spec.command_line.push('x'),
            |spec| spec.vcpus = NonZeroU32::MAX,
            |spec| spec.memory_bytes += 1,
            |spec| spec.disks_mut().for_each(|disk| disk.size += 512),
            |spec| spec.disks_mut().for_each(|disk| disk.read_only = false),
            |spec| {
                let mut disks = spec.disks_mut();
                disks.next().unwrap().role = DiskRole::Upper;
            },
            |spec| spec.devices[1] = Device::GuestChannel { name: "d".into() },
            |spec| spec.devices.push(Device::Balloon),
            |spec| spec.accelerator = Accelerator::Kvm,
            |spec| spec.nested_virtualization = true,
        ];
        for change in changes {
            let mut changed = base.clone();
            change(&mut changed);
            keys.push(key(&changed, 1));
        }
        let shape = Shape::of(&base, &vmm, 1).unwrap();
        let other_cpu = Shape {
            cpu: "another".into(),
            ..shape.clone()
        };
        std::fs::write(&path, "two!").unwrap();
        let other_vmm = Shape {
            vmm: FileIdentity::of(&path).unwrap(),
            ..shape
        };
        keys.extend([other_cpu.key(), other_vmm.key(), key(&base, 1)]);
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        // A NIC that is saved, and its MTU, do; one that comes late does not.
        let nic_by = |vhost: bool, saved, mtu| {
            let mut spec = base.clone();
            let tap = std::fs::File::open("/dev/null").unwrap();
            spec.devices.push(Device::Nic(Nic {
                vhost: vhost.then(|| std::sync::Arc::new(tap.try_clone().unwrap().into())),
                tap: std::sync::Arc::new(tap.into()),
                mac: MacAddress::new([2, 0, 0, 0, 0, 1]).unwrap(),
                mtu,
                saved,
            }));
            key(&spec, 1)
        };
        let nic = |saved, mtu| nic_by(false, saved, mtu);
        assert_ne!(nic(true, 1500), nic_by(true, true, 1500));
        assert_ne!(nic(true, 1500), key(&base, 1));
        assert_ne!(nic(true, 1500), nic(true, 1400));
        assert_eq!(nic(false, 1500), key(&base, 1));
        // Devices that come late make no difference.
        let mut more = base.clone();
        let volume = Disk::empty(DiskRole::Volume(1), 512, false);
        more.devices.push(Device::Disk(volume));
        assert_eq!(key(&more, 1), key(&base, 1));
        // Which file lies behind a disk, and where the console goes, makes no difference.
        let mut same = base.clone();
        same.record_console("/tmp/console".into());
        same.devices.reverse();
        same.disks_mut()
            .for_each(|disk| disk.extents[0].path = "/elsewhere".into());
        assert_eq!(key(&same, 1), key(&base, 1));
        assert_eq!(key(&base, 1).len(), 32);
    }

    #[test]
    fn the_cpu_is_described_without_its_present_speed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "processor\t: 0\nmodel name\t: X\ncpu MHz\t\t: 1.5\nflags\t\t: fpu sse\n\n\
                    processor\t: 1\nmodel name\t: Y\n";
        std::fs::write(file.path(), text).unwrap();
        assert_eq!(
            cpu(file.path()).unwrap(),
            "model name\t: X\nflags\t\t: fpu sse"
        );
    }
}
