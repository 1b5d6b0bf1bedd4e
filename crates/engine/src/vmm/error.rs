//! Why a VMM was not found, or did not do what it was told.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::device::{DiskError, DiskRole, MacAddress, NicError};

/// Why no usable VMM was found.
#[derive(Debug, thiserror::Error)]
pub enum FindVmmError {
    /// There is none.
    #[error("no {program} in PATH; install the package {packages}")]
    Missing {
        /// The program that was looked for.
        program: &'static str,
        /// The packages that have it, by distribution.
        packages: &'static str,
    },
    /// It cannot be run.
    #[error("cannot run {} --version", path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// It ran and said something else.
    #[error("{} does not tell its version: {output:?}", path.display())]
    Unrecognised {
        /// The program.
        path: PathBuf,
        /// Start of its output.
        output: String,
    },
    /// It is older than the engine needs.
    #[error("{} is version {found}; {oldest} or newer is needed", path.display())]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The oldest version that is known to work.
        oldest: String,
    },
}

/// Why a VMM did not obey.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The VMM ended, or closed the connection.
    #[error("the VMM closed its control connection")]
    Closed,
    /// The command could not be sent.
    #[error("cannot write to the VMM's control connection")]
    Write(#[source] io::Error),
    /// No answer came in time.
    #[error("the VMM did not answer `{command}` within {} s", limit.as_secs())]
    Timeout {
        /// The command sent.
        command: &'static str,
        /// How long the answer was awaited.
        limit: Duration,
    },
    /// The VMM refused the command.
    #[error("the VMM refused `{command}`: {description}")]
    Refused {
        /// The command sent.
        command: &'static str,
        /// The VMM's explanation.
        description: String,
    },
}

/// Why a NIC could not be connected, or disconnected, while its machine runs.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It was made without one, or each of them is in use.
    #[error("the machine has no spare NIC")]
    NoSpare,
    /// It has no such NIC, or none that is connected.
    #[error("the machine has no NIC {0} that is connected")]
    Unknown(MacAddress),
    /// The descriptor is of no use.
    #[error("cannot use the tap")]
    Tap(#[source] NicError),
    /// It did not get into the place of the one before.
    #[error("cannot put the tap in the place of the one that the VMM has")]
    Replace(#[source] io::Error),
    /// The VMM did not obey.
    #[error("the VMM did not change the NIC {mac}")]
    Refused {
        /// Which one.
        mac: MacAddress,
        /// Its answer.
        #[source]
        source: ControlError,
    },
}

/// Why a disk could not be put in another one's place.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The machine was made without such a disk.
    #[error("the machine has no disk `{0}`")]
    Unknown(DiskRole),
    /// The disk cannot be opened or composed.
    #[error("cannot attach the disk `{role}`")]
    Disk {
        /// Which one.
        role: DiskRole,
        /// What is wrong with it.
        #[source]
        source: DiskError,
    },
    /// The VMM did not take it.
    #[error("the VMM did not take the disk `{role}`")]
    Refused {
        /// Which one.
        role: DiskRole,
        /// Its answer.
        #[source]
        source: ControlError,
    },
}
