//! Why the agent refused or failed, and what kind of error that is for the host.

use std::io;

use container_api::{Error, Kind};
use thiserror::Error as ThisError;

use crate::container::{DeviceError, LimitError, RootError, SysctlError, VolumeError};
use crate::launch::{FailureKind, PlanError};
use crate::network::NetworkError;
use crate::process::{SpawnError, TableError};
use crate::sockets::SocketError;
use crate::transport::TransportError;

/// An operation that failed.
#[derive(Debug, ThisError)]
pub enum AgentError {
    /// Start comes once.
    #[error("the container was started already")]
    Started,
    /// Everything else comes after Start.
    #[error("the container was not started")]
    NotStarted,
    /// The first process has ended, or is about to.
    #[error("the container is stopping")]
    Stopping,
    /// Nothing can start in it.
    #[error("the container is paused")]
    Frozen,
    /// Not a name for a process.
    #[error("invalid process id {0:?}")]
    Id(String),
    /// One operation holds it, and another one would let it go.
    #[error("the file system is held still already")]
    Held,
    /// Words that are no operation on files.
    #[error("there is no such operation on files")]
    Operation,
    /// A field that must be there is not.
    #[error("the request has no {0}")]
    Missing(&'static str),
    /// Not JSON, or JSON of another form.
    #[error("invalid OCI specification")]
    Json(#[source] serde_json::Error),
    /// A specification that cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A limit that cannot be expressed.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A kernel parameter of the guest.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The clock.
    #[error("cannot set the clock")]
    Clock(#[source] io::Error),
    /// The random pool.
    #[error("cannot seed the random number generator")]
    Entropy(#[source] io::Error),
    /// The network interfaces.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The devices that a restored machine has got.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The root's end.
    #[error("cannot unmount the root")]
    Unmount(#[source] io::Error),
    /// A volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// An empty volume does not get what the image has in its place.
    #[error("cannot fill an empty volume: {0}")]
    Fill(String),
    /// The container's control group.
    #[error("cannot make or remove the control group")]
    Cgroup(#[source] io::Error),
    /// A limit that the kernel refuses.
    #[error("cannot set {file} to {value:?}")]
    Setting {
        file: String,
        value: String,
        #[source]
        source: io::Error,
    },
    /// A device that the container is to get.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device filter.
    #[error("cannot restrict the devices")]
    Devices(#[source] io::Error),
    /// The process did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The process started but cannot be watched.
    #[error("cannot watch the process")]
    Watch(#[source] io::Error),
    /// The table of processes.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A number that is no signal.
    #[error("there is no signal {0}")]
    SignalNumber(i32),
    /// There is nobody to signal.
    #[error("the process has ended")]
    ProcessEnded,
    /// The kernel refuses the signal.
    #[error("cannot send the signal")]
    Signal(#[source] io::Error),
    /// Only terminals have a size.
    #[error("the process has no terminal")]
    NoTerminal,
    /// Terminals have at most 65535 rows and columns.
    #[error("invalid terminal size")]
    TerminalSize,
    /// The kernel refuses the size.
    #[error("cannot resize the terminal")]
    Resize(#[source] io::Error),
    /// One reader, one feeder.
    #[error("the stream has ended, is in use, or does not exist")]
    StreamTaken,
    /// Reading or writing a stream.
    #[error("cannot move data of the process")]
    Stream(#[source] io::Error),
    /// A socket that leads to the host.
    #[error(transparent)]
    Listen(#[from] SocketError),
    /// There are not so many.
    #[error("the container has no socket {0}")]
    NoSocket(usize),
    /// Nobody listens in the container, or a connection cannot be made.
    #[error("cannot connect to the container's socket")]
    Socket(#[source] io::Error),
    /// A socket that leads to the host.
    #[error("cannot listen, or cease to, at a socket that leads to the host")]
    Relisten(#[source] io::Error),
    /// The kernel's caches.
    #[error("cannot drop names and inodes")]
    Forget(#[source] io::Error),
    /// The freezer.
    #[error("cannot freeze or thaw the container")]
    Freeze(#[source] io::Error),
    /// The freezer did not come to an end.
    #[error("the container did not freeze or thaw in time")]
    FreezeTimeout,
}

impl AgentError {
    fn kind(&self) -> Kind {
        match self {
            Self::Started
            | Self::NotStarted
            | Self::Stopping
            | Self::Frozen
            | Self::Held
            | Self::NoTerminal
            | Self::ProcessEnded
            | Self::StreamTaken => Kind::InvalidState,
            Self::Plan(PlanError::Unsupported(_)) => Kind::Unsupported,
            Self::Id(_)
            | Self::Operation
            | Self::Missing(_)
            | Self::Json(_)
            | Self::Plan(_)
            | Self::Limit(_)
            | Self::Sysctl(_)
            | Self::Setting { .. }
            | Self::Device(_)
            | Self::Devices(_)
            | Self::SignalNumber(_)
            | Self::TerminalSize => Kind::InvalidArgument,
            Self::Spawn(SpawnError::Child { kind, .. }) => match kind {
                FailureKind::NotFound => Kind::NotFound,
                FailureKind::PermissionDenied => Kind::PermissionDenied,
                FailureKind::InvalidArgument => Kind::InvalidArgument,
                FailureKind::InvalidState => Kind::InvalidState,
                FailureKind::Internal => Kind::Internal,
            },
            Self::Spawn(SpawnError::Clone(error)) | Self::Signal(error)
                if error.raw_os_error() == Some(libc::EAGAIN) =>
            {
                Kind::Exhausted
            }
            Self::Signal(error) if error.raw_os_error() == Some(libc::ESRCH) => Kind::InvalidState,
            Self::Table(TableError::Unknown(_)) | Self::NoSocket(_) => Kind::NotFound,
            Self::Table(TableError::Exists(_)) => Kind::Exists,
            Self::Table(TableError::Full) => Kind::Exhausted,
            Self::FreezeTimeout => Kind::Timeout,
            Self::Clock(_)
            | Self::Entropy(_)
            | Self::Network(_)
            | Self::Transport(_)
            | Self::Root(_)
            | Self::Volume(_)
            | Self::Fill(_)
            | Self::Unmount(_)
            | Self::Cgroup(_)
            | Self::Spawn(_)
            | Self::Watch(_)
            | Self::Signal(_)
            | Self::Resize(_)
            | Self::Stream(_)
            | Self::Listen(_)
            | Self::Relisten(_)
            | Self::Socket(_)
            | Self::Forget(_)
            | Self::Freeze(_) => Kind::Internal,
        }
    }
}

impl From<AgentError> for tonic::Status {
    fn from(error: AgentError) -> Self {
        Error::caused(error.kind(), error).into()
    }
}
