//! Why a machine cannot have its devices.

use std::io;
use std::path::PathBuf;

use super::{DiskRole, MacAddress, NicError, ShareError};

/// Why a machine cannot have its devices.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no place for all of them.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A disk cannot be opened or composed.
    #[error("cannot attach the disk `{role}`")]
    Disk {
        /// Which one.
        role: DiskRole,
        /// What is wrong with it.
        #[source]
        source: DiskError,
    },
    /// A network interface cannot be given to a guest.
    #[error("cannot attach the NIC {mac}")]
    Nic {
        /// Which one.
        mac: MacAddress,
        /// What is wrong with it.
        #[source]
        source: NicError,
    },
    /// A share cannot be given to a guest.
    #[error("cannot attach the share `{tag}`")]
    Share {
        /// Which one.
        tag: String,
        /// What is wrong with it.
        #[source]
        source: ShareError,
    },
}

/// Why the machine does not hold its devices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Two devices have the same role.
    #[error("the machine would have {0} twice")]
    Twice(String),
    /// Spare NICs that there is no place for.
    #[error("the machine has no place for a spare NIC")]
    NoSpare,
    /// More than it has places for.
    #[error(
        "the machine has no place for {disks} disks and {others} NICs and shares: it takes {limit} disks, and beside \
         them {most} NICs and shares"
    )]
    Full {
        /// Disks that were asked for.
        disks: usize,
        /// Most disks of a machine.
        limit: usize,
        /// NICs and shares that were asked for.
        others: usize,
        /// NICs and shares that there is place for beside such disks.
        most: usize,
    },
}

/// Why a disk cannot be given to a guest.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file cannot be opened as the disk needs it.
    #[error("cannot open {} {}", path.display(), if *read_only { "for reading" } else { "for writing" })]
    Open {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        read_only: bool,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A disk is neither a regular file nor a block device.
    #[error("{} is neither a regular file nor a block device", .0.display())]
    FileType(PathBuf),
    /// An extent reaches beyond its file.
    #[error("{} has {actual} bytes, the disk needs {expected}", path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
        /// End of the extent.
        expected: u64,
        /// Bytes in the file.
        actual: u64,
    },
    /// The extents and the size contradict each other or the sector size.
    #[error("a disk's layout is invalid: {0}")]
    Layout(&'static str),
    /// A temporary description of the disk cannot be made.
    #[error("cannot describe a disk to the VMM")]
    Describe(#[source] io::Error),
}
