//! Why a process did not start, and how that crosses from the child to the agent.

use std::fmt::Display;
use std::io;

use rustix::io::Errno;
use thiserror::Error;

use super::identity::IdentityError;
use crate::container::SysctlError;
use crate::mount::FilesystemError;

/// A reason not to have started.
#[derive(Debug, Error)]
pub enum Failure {
    /// No directory of `$PATH` has it.
    #[error("executable '{0}' not found in $PATH")]
    NotInPath(String),
    /// The path leads nowhere.
    #[error("executable '{0}' not found")]
    NoSuchFile(String),
    /// It exists, but what it names as its interpreter does not.
    #[error("executable '{0}' cannot be run: its interpreter or dynamic loader is missing")]
    NoInterpreter(String),
    /// It exists but the kernel does not know its format, or it is for another architecture.
    #[error("executable '{0}' cannot be run: not a program of this machine")]
    Format(String),
    /// It exists but may not be run by this user.
    #[error("executable '{path}' cannot be run")]
    NotExecutable {
        path: String,
        #[source]
        source: io::Error,
    },
    /// No process without a program.
    #[error("the process has no arguments")]
    NoArguments,
    /// User or group.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The working directory.
    #[error("cannot enter the working directory {path:?}")]
    WorkingDirectory {
        path: String,
        #[source]
        source: io::Error,
    },
    /// The working directory is reached from outside the root (CVE-2024-21626).
    #[error("the working directory {0:?} is outside the container's root")]
    WorkingDirectoryOutside(String),
    /// The container has ended meanwhile.
    #[error("the container is stopping")]
    ContainerStopped,
    /// A kernel parameter of the container.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A mount of the container.
    #[error("cannot mount {target}")]
    Mount {
        target: String,
        #[source]
        source: FilesystemError,
    },
    /// A part of a volume that is not there, or elsewhere.
    #[error("cannot mount '{part}' of the volume at {target}")]
    Part {
        part: String,
        target: String,
        #[source]
        source: io::Error,
    },
    /// Any other step.
    #[error("{step}")]
    Step {
        step: String,
        #[source]
        source: io::Error,
    },
}

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    NotFound,
    PermissionDenied,
    InvalidArgument,
    InvalidState,
    Internal,
}

impl FailureKind {
    const ALL: [Self; 5] = [
        Self::NotFound,
        Self::PermissionDenied,
        Self::InvalidArgument,
        Self::InvalidState,
        Self::Internal,
    ];

    /// One byte that stands for the kind.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::NotFound => b'n',
            Self::PermissionDenied => b'p',
            Self::InvalidArgument => b'a',
            Self::InvalidState => b's',
            Self::Internal => b'i',
        }
    }

    /// The kind of a byte; unknown ones are internal errors.
    pub fn from_byte(byte: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|kind| kind.to_byte() == byte)
            .unwrap_or(Self::Internal)
    }
}

impl Failure {
    /// A step of the kernel's that failed.
    pub fn step(step: impl Display, source: impl Into<io::Error>) -> Self {
        Self::Step {
            step: step.to_string(),
            source: source.into(),
        }
    }

    /// What kind of error the caller is told.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::NotInPath(_) | Self::NoSuchFile(_) | Self::NoInterpreter(_) => {
                FailureKind::NotFound
            }
            Self::NotExecutable { .. } => FailureKind::PermissionDenied,
            Self::NoArguments
            | Self::Format(_)
            | Self::Identity(_)
            | Self::WorkingDirectory { .. }
            | Self::WorkingDirectoryOutside(_)
            | Self::Sysctl(_)
            | Self::Mount { .. }
            | Self::Part { .. } => FailureKind::InvalidArgument,
            Self::ContainerStopped => FailureKind::InvalidState,
            Self::Step { .. } => FailureKind::Internal,
        }
    }
}

/// Names the step that a system call was part of.
pub trait Context<T> {
    /// `step` is only formatted on failure.
    fn context<D: Display>(self, step: impl FnOnce() -> D) -> Result<T, Failure>;
}

impl<T> Context<T> for Result<T, Errno> {
    fn context<D: Display>(self, step: impl FnOnce() -> D) -> Result<T, Failure> {
        self.map_err(|error| Failure::step(step(), error))
    }
}

impl<T> Context<T> for io::Result<T> {
    fn context<D: Display>(self, step: impl FnOnce() -> D) -> Result<T, Failure> {
        self.map_err(|error| Failure::step(step(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_as_bytes() {
        for kind in FailureKind::ALL {
            assert_eq!(FailureKind::from_byte(kind.to_byte()), kind);
        }
        assert_eq!(FailureKind::from_byte(b'?'), FailureKind::Internal);
    }
}
