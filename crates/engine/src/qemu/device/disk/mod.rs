//! Disks: virtio disks, and units of a SCSI controller where there are many.
//!
//! What they need of the confinement is room for the files that they write: the calls that read and write are every VMM's.

pub(in crate::qemu) mod exchange;
mod open;

use std::os::fd::OwnedFd;

use super::bus;
use super::place::{Place, TRANSPORTS};
use crate::device::{Disk, DiskError, DiskRole};
use crate::qemu::arguments::CommandLine;
use exchange::Attached;
use open::{Backend, Composition};

/// Name of the SCSI controller.
pub(super) const CONTROLLER: &str = "scsi";

/// Bytes that the disks say they like to be read in. The guest reads ahead twice as many (`blk_apply_bdi_limits` of its
/// kernel): each request costs an exit, a thread's turn and an interrupt.
const OPTIMAL_READ: u32 = 256 * 1024;

/// The kernel mounts this disk before vminitd runs, so it needs a device name instead of a serial number. QEMU announces the last transport
/// first, and the allocator puts the disk of [`DiskRole::Init`] there, so it is the first virtio disk.
pub(in crate::qemu) const BOOT_DISK: &str = "/dev/vda";

/// Name of the guest's side of a disk.
fn device(role: DiskRole) -> String {
    role.serial()
}

/// The controller for disks that have no transport of their own.
pub(super) fn attach_controller(line: &mut CommandLine, transport: usize) {
    debug_assert!(transport < TRANSPORTS);
    let bus = bus(Place::Transport(transport));
    line.option(
        "-device",
        format!("virtio-scsi-device,id={CONTROLLER},{bus}"),
    );
}

pub(super) fn attach(line: &mut CommandLine, place: Place, disk: &Disk) -> Result<(), DiskError> {
    let backend = open::open(disk)?;
    attach_backend(line, disk, backend)?;
    if !disk.read_only {
        line.needs.file_of(disk.size);
    }
    let kind = match place {
        Place::Unit { .. } => "scsi-hd",
        _ => "virtio-blk-device",
    };
    let (bus, id) = (bus(place), device(disk.role));
    let (node, serial) = (node(disk.role), disk.role.serial());
    // A guest that is told of an error of the host's as one of its disk gives up its file system. So the machine stands still until the
    // host takes what it writes (`blk_error_action` of block/block-backend.c). What cannot be read is the guest's to know.
    let on_error = if disk.read_only {
        "rerror=report"
    } else {
        "werror=stop,rerror=report"
    };
    line.option(
        "-device",
        format!(
            "{kind},{bus},id={id},drive={node},serial={serial},opt_io_size={OPTIMAL_READ},\
             {on_error}"
        ),
    );
    Ok(())
}

/// Name of the host's side of a disk.
fn node(role: DiskRole) -> String {
    format!("disk-{role}")
}

/// Adds the host's side of a disk.
fn attach_backend(line: &mut CommandLine, disk: &Disk, backend: Backend) -> Result<(), DiskError> {
    let first = line.disks.sets;
    let (node, file_node) = (node(disk.role), format!("file-{}", disk.role));
    let source = match backend {
        Backend::Raw(file) => {
            add_file(line, &file_node, file, disk.read_only);
            format!("driver=raw,file={file_node}")
        }
        Backend::Composed(composition) => {
            add_composition(line, &file_node, composition)?;
            format!("driver=vmdk,file={file_node}")
        }
    };
    let access = if disk.read_only {
        "read-only=on"
    } else {
        // Space that the guest frees or fills with zeroes returns to the host.
        "read-only=off,discard=unmap,detect-zeroes=unmap"
    };
    line.option("-blockdev", format!("node-name={node},{source},{access}"));
    let attached = Attached {
        nodes: vec![node, file_node],
        sets: first..line.disks.sets,
    };
    line.disks.attached.insert(disk.role, attached);
    Ok(())
}

/// Adds a protocol node for an opened file.
fn add_file(line: &mut CommandLine, node: &str, file: OwnedFd, read_only: bool) {
    let set = add_to_set(line, file);
    let access = if read_only {
        "read-only=on"
    } else {
        "read-only=off,discard=unmap"
    };
    line.option(
        "-blockdev",
        format!("node-name={node},driver=file,filename=/dev/fdset/{set},{access}"),
    );
}

/// Adds the files of a disk of several, and a node for what describes it.
fn add_composition(
    line: &mut CommandLine,
    node: &str,
    composition: Composition,
) -> Result<(), DiskError> {
    let first = line.disks.sets;
    let description = open::descriptor(&composition, |file| first + file)?;
    for file in composition.files {
        add_to_set(line, file);
    }
    add_file(line, node, description, true);
    Ok(())
}

/// Makes a descriptor available to QEMU as `/dev/fdset/<the returned number>`.
fn add_to_set(line: &mut CommandLine, descriptor: OwnedFd) -> usize {
    let set = line.disks.sets;
    line.disks.sets += 1;
    let number = line.inherit(descriptor);
    line.option("-add-fd", format!("fd={number},set={set}"));
    set
}
