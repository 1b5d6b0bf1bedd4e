//! Devices in QEMU's words: for each kind a file with its arguments, what it needs of the confinement, and its tests.

mod balloon;
pub(super) mod disk;
mod entropy;
pub(super) mod nic;
pub(crate) mod place;
mod serial;
mod share;

use crate::device::{Device, DeviceError};
use crate::spec::VmSpec;
use place::Place;

use super::arguments::{CommandLine, DeviceStreams};

/// Adds the devices of `spec`.
pub(super) fn attach(
    line: &mut CommandLine,
    spec: &VmSpec,
    streams: DeviceStreams,
) -> Result<(), DeviceError> {
    let places = place::allocate(&spec.devices)?;
    let mut serial = serial::Serial::new(streams);
    let mut controller = None;
    for (device, place) in spec.devices.iter().zip(places) {
        match device {
            Device::Console { .. } => serial.console(line, place),
            Device::GuestChannel { name } => serial.channel(line, place, name),
            Device::Balloon => balloon::attach(line, place),
            Device::Entropy => entropy::attach(line, place),
            Device::Nic(nic) => {
                nic::attach(line, place, nic).map_err(|source| DeviceError::Nic {
                    mac: nic.mac,
                    source,
                })?;
            }
            Device::SpareNic(spare) => nic::attach_spare(line, place, *spare),
            Device::Share(share) => {
                share::attach(line, place, share).map_err(|source| DeviceError::Share {
                    tag: share.tag.clone(),
                    source,
                })?;
            }
            Device::Disk(disk) => {
                if let Place::Unit { transport, .. } = place {
                    if controller.replace(transport).is_none() {
                        disk::attach_controller(line, transport);
                    }
                }
                disk::attach(line, place, disk).map_err(|source| DeviceError::Disk {
                    role: disk.role,
                    source,
                })?;
            }
        }
    }
    Ok(())
}

/// The property that puts a virtio device on its transport, or a unit behind its controller.
fn bus(place: Place) -> String {
    match place {
        Place::Transport(number) => format!("bus=virtio-mmio-bus.{number}"),
        Place::Port { number, .. } => format!("nr={number}"),
        Place::Unit { number, .. } => format!("bus={}.0,scsi-id=0,lun={number}", disk::CONTROLLER),
    }
}
