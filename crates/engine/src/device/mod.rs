//! The devices of a machine, each with its role: what it is for, and how its guest knows it.

mod disk;
mod error;
mod nic;
mod share;
pub mod vhost;

pub(crate) use nic::check_tap;

pub use disk::{Disk, DiskRole, Extent, MAX_EXTENTS, SECTOR};
pub use error::{DeviceError, DiskError, PlaceError};
pub use nic::{MTU, MacAddress, MacAddressError, Nic, NicError, SpareNic};
pub use share::{Share, ShareError, TAG_LIMIT};

use std::path::PathBuf;

/// A device. Its guest finds it by its role, never by its number or its place.
#[derive(Debug, Clone)]
pub enum Device {
    /// A block device; known by its serial number, see [`DiskRole::serial`].
    Disk(Disk),
    /// A network interface; known by its MAC address.
    Nic(Nic),
    /// A network interface that leads nowhere until a tap is put behind it; known by its MAC address.
    SpareNic(SpareNic),
    /// A file system of the host; known by its tag.
    Share(Share),
    /// The stream to the guest; known by the port's name (`/sys/class/virtio-ports/*/name`).
    GuestChannel {
        /// Name of the virtio-serial port.
        name: String,
    },
    /// What the guest's kernel writes its messages to, `/dev/hvc0`.
    Console {
        /// File that receives them, kept under [`crate::console::CAPACITY`] bytes. Without one only the last lines
        /// are kept, in memory.
        record: Option<PathBuf>,
    },
    /// Takes back memory that the guest does not use.
    Balloon,
    /// Random numbers of the host.
    Entropy,
}

impl Device {
    /// How people and errors call it: "the disk `root`", "the NIC 02:00:00:00:00:01".
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Disk(disk) => format!("the disk `{}`", disk.role),
            Self::Nic(nic) => format!("the NIC {}", nic.mac),
            Self::SpareNic(nic) => format!("the NIC {}", nic.mac),
            Self::Share(share) => format!("the share `{}`", share.tag),
            Self::GuestChannel { .. } => "the guest channel".to_owned(),
            Self::Console { .. } => "the console".to_owned(),
            Self::Balloon => "the balloon".to_owned(),
            Self::Entropy => "the source of entropy".to_owned(),
        }
    }
}
