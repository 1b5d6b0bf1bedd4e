//! Devices in QEMU's words: for each kind a file with its arguments, what it needs of the confinement, and its tests.

mod balloon;
pub mod disk;
mod entropy;
mod nic;
pub mod place;
mod serial;
mod share;

use crate::device::{Device, DiskRole, MacAddress, NicError, ShareError};
use crate::spec::VmSpec;
use disk::DiskError;
use place::{Place, PlaceError};

use super::arguments::{CommandLine, Streams};

/// Why a machine can't have its devices.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no place for all of them.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A disk can't be opened or composed.
    #[error("cannot attach the disk `{role}`")]
    Disk {
        /// Which one.
        role: DiskRole,
        /// What is wrong with it.
        #[source]
        source: DiskError,
    },
    /// A network interface can't be given to a guest.
    #[error("cannot attach the NIC {mac}")]
    Nic {
        /// Which one.
        mac: MacAddress,
        /// What is wrong with it.
        #[source]
        source: NicError,
    },
    /// A share can't be given to a guest.
    #[error("cannot attach the share `{tag}`")]
    Share {
        /// Which one.
        tag: String,
        /// What is wrong with it.
        #[source]
        source: ShareError,
    },
}

/// Adds the devices of `spec`.
pub(super) fn attach(
    line: &mut CommandLine,
    spec: &VmSpec,
    streams: Streams,
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
