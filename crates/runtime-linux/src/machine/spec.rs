//! What a container's machine is made of.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use container_api::{Error, Kind, greeting};
use container_engine::{Device, Disk, DiskRole, Engine, Extent, VmSpec};
use container_ext4::Format;
use container_resource::bundle::{Boot, Bundle, RootDisk};
use container_resource::container::ContainerConfiguration;

use super::nesting;

/// Guest memory beside the container's, in bytes: kernel, vminitd and the page cache of the root.
pub const MEMORY_OVERHEAD: u64 = 128 << 20;
/// Memory is given in these steps, in bytes.
const MEMORY_STEP: u64 = 1 << 20;
/// The kernel's part of the command line that does not depend on the machine (kernel-parameters.txt).
const COMMAND_LINE: &str = "quiet oops=panic";
/// Bytes that the image's disk seems to have, whatever the image: a machine can only be restored with disks
/// of the size it was saved with. A larger image has a disk, and templates, of its own size.
const ROOT_SIZE: u64 = 256 << 30;
/// How a guest boots from its init image. PID 1 needs /dev/null and the kernel's log before it can
/// mount anything, and an image has no device nodes: the kernel mounts /dev.
const INIT_IMAGE: &str = " rootfstype=erofs ro init=/sbin/vminitd devtmpfs.mount=1";

/// What the writable layer is like while it is empty.
pub fn upper_format(configuration: &ContainerConfiguration) -> Format {
    let usual = Format::default();
    let asked = &configuration.resources;
    Format {
        size: asked.storage.unwrap_or(usual.size),
        journal: asked.journal.unwrap_or(usual.journal),
        ..usual
    }
}

/// The machine of the container in `bundle`.
pub fn spec(
    bundle: &Bundle,
    configuration: &ContainerConfiguration,
    boot: &Boot,
    engine: &Engine,
    volumes: &[Disk],
) -> Result<VmSpec, Error> {
    let mut spec = shape(configuration, boot, engine)?;
    for disk in spec.disks_mut() {
        match disk.role {
            DiskRole::Root => *disk = image_disk(DiskRole::Root, &boot.root, disk.size),
            _ => *disk = Disk::writable(disk.role, &bundle.upper(), disk.size),
        }
    }
    spec.devices
        .extend(volumes.iter().cloned().map(Device::Disk));
    if let Some(init) = &boot.init {
        if boot.has_modules {
            let text = "an init image needs a kernel that has the drivers of disks built in";
            let error = Error::new(Kind::Unsupported, text);
            return Err(
                error.with_hint("`container system kernel set --recommended` chooses such a one.")
            );
        }
        let disk = image_disk(DiskRole::Init, init, init.size);
        spec.devices.push(Device::Disk(disk));
        spec.initramfs = None;
        spec.command_line.push_str(INIT_IMAGE);
    }
    if !boot.idle {
        spec.record_console(bundle.boot_log());
    }
    Ok(spec)
}

fn image_disk(role: DiskRole, root: &RootDisk, size: u64) -> Disk {
    let extents = root.extents.iter().map(|extent| Extent {
        path: extent.path.clone(),
        offset: extent.offset,
        length: extent.length,
    });
    Disk {
        extents: extents.collect(),
        ..Disk::empty(role, size, true)
    }
}

/// The machine that containers like this one can share a template of: its disks are empty, and it has no
/// console.
pub fn shape(
    configuration: &ContainerConfiguration,
    boot: &Boot,
    engine: &Engine,
) -> Result<VmSpec, Error> {
    if configuration.virtualization {
        nesting::check(engine.accelerator())?;
    }
    let size = &configuration.resources;
    let vcpus = NonZeroU32::new(size.cpus.saturating_add(size.cpu_overhead))
        .ok_or_else(|| Error::new(Kind::InvalidArgument, "a container needs at least one CPU"))?;
    let memory = size.memory_in_bytes.saturating_add(MEMORY_OVERHEAD);
    let mut command_line = String::from(COMMAND_LINE);
    for word in &configuration.kernel_arguments {
        command_line.push(' ');
        command_line.push_str(word);
    }
    let root = Disk::empty(DiskRole::Root, boot.root.size.max(ROOT_SIZE), true);
    let upper = Disk::empty(DiskRole::Upper, upper_format(configuration).size, false);
    Ok(VmSpec {
        kernel: boot.kernel.clone(),
        initramfs: Some(boot.initramfs.clone()),
        command_line,
        vcpus,
        memory_bytes: memory
            .checked_next_multiple_of(MEMORY_STEP)
            .unwrap_or(memory),
        devices: vec![
            Device::Disk(root),
            Device::Disk(upper),
            Device::GuestChannel {
                name: greeting::PORT.to_owned(),
            },
            Device::Console { record: None },
            Device::Balloon,
            Device::Entropy,
        ],
        accelerator: engine.accelerator(),
        firmware_tables: boot.has_modules,
        nested_virtualization: configuration.virtualization,
    })
}

/// Where templates are.
pub fn templates(cache: &Path) -> PathBuf {
    cache.join("templates")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_may_be_created_has_room() {
        assert_eq!(container_resource::room::MOST, container_engine::ROOM);
        let most_disks = container_resource::room::MOST_DISKS;
        assert_eq!(most_disks, container_engine::MAX_DISKS);
    }
}
