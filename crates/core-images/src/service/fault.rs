//! Which kind of error each failure is to a client.

use std::io;

use container_api::{Error, Kind};

use crate::archive::{LoadError, SaveError};
use crate::image::{FindError, GraphError};
use crate::import::ImportError;
use crate::layer::unpack::UnpackError;
use crate::registry::RegistryError;
use crate::registry::credentials::CredentialError;
use crate::registry::pull::PullError;
use crate::registry::push::PushError;
use crate::root::RootError;
use crate::store::{IngestError, StoreError};

/// An error of this process that knows what it means to a client.
pub(super) trait Fault: std::error::Error + Sized + 'static {
    /// What a client acts on.
    fn kind(&self) -> Kind;

    /// For the wire.
    fn fault(self) -> Error {
        Error::chain(self.kind(), &self)
    }
}

fn of_io(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => {
            Kind::Exhausted
        }
        _ => Kind::Internal,
    }
}

impl Fault for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } => of_io(source),
            Self::MissingBlob(_) => Kind::NotFound,
            Self::TooLarge { .. } => Kind::InvalidArgument,
        }
    }
}

impl Fault for FindError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Ambiguous(_) | Self::Reference(_) => Kind::InvalidArgument,
            Self::Store(error) => error.kind(),
        }
    }
}

impl Fault for IngestError {
    fn kind(&self) -> Kind {
        match self {
            Self::Mismatch { .. } | Self::Read(_) => Kind::InvalidArgument,
            Self::Write(error) => of_io(error),
            Self::Store(error) => error.kind(),
        }
    }
}

impl Fault for GraphError {
    fn kind(&self) -> Kind {
        match self {
            Self::LayerType(_) => Kind::Unsupported,
            _ => Kind::InvalidArgument,
        }
    }
}

impl Fault for LoadError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSpace => Kind::Exhausted,
            Self::Copy { source, .. } => of_io(source),
            Self::Blob { source, .. } | Self::Ingest(source) => source.kind(),
            Self::Store(error) => error.kind(),
            Self::Image(_, error) | Self::Part(_, error) => error.kind(),
            Self::Root(_, error) => error.kind(),
            Self::Cancelled => Kind::Cancelled,
            _ => Kind::InvalidArgument,
        }
    }
}

impl Fault for SaveError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoPlatform { .. } => Kind::Unsupported,
            Self::Damaged { .. } => Kind::InvalidState,
            Self::Write(error) => of_io(error),
            Self::Store(error) => error.kind(),
        }
    }
}

impl Fault for ImportError {
    fn kind(&self) -> Kind {
        match self {
            Self::Change(_) => Kind::InvalidArgument,
            Self::Unpack(error) => error.kind(),
            Self::Root(error) => error.kind(),
            Self::Ingest(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Cancelled => Kind::Cancelled,
        }
    }
}

impl Fault for RegistryError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. }
            | Self::Unresolved { .. }
            | Self::Status { .. }
            | Self::GivenUp { .. } => Kind::Unavailable,
            Self::Everywhere { source, .. } => source.kind(),
            Self::NotFound { .. } => Kind::NotFound,
            Self::Denied { .. }
            | Self::Refused { .. }
            | Self::Credentials(CredentialError::Locked) => Kind::PermissionDenied,
            Self::Protocol { .. } | Self::Mismatch { .. } | Self::Configuration { .. } => {
                Kind::InvalidArgument
            }
            Self::Client(_) | Self::Credentials(_) => Kind::Internal,
        }
    }
}

impl Fault for PullError {
    fn kind(&self) -> Kind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::Document { .. } => Kind::InvalidArgument,
            Self::NoPlatform { .. } => Kind::Unsupported,
            Self::Image(error) => error.kind(),
            Self::Ingest(error) => error.kind(),
            Self::Unpack(error) => error.kind(),
            Self::Root(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Cancelled => Kind::Cancelled,
        }
    }
}

impl Fault for PushError {
    fn kind(&self) -> Kind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::NoName(_) | Self::Referrer { .. } => Kind::InvalidArgument,
            Self::NoPlatform { .. } | Self::Incomplete { .. } => Kind::Unsupported,
            Self::Image { .. } => Kind::InvalidState,
            Self::Store(error) => error.kind(),
        }
    }
}

impl Fault for UnpackError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused { .. } | Self::Blob { .. } | Self::DiffId { .. } => Kind::InvalidArgument,
            Self::NoSpace(_) => Kind::Exhausted,
            Self::Died { .. } => Kind::Internal,
            Self::Worker(error) => of_io(error),
            Self::Store(error) => error.kind(),
        }
    }
}

impl Fault for RootError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoImage(_) => Kind::NotFound,
            Self::Unpack(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Merge(_) | Self::Damaged { .. } => Kind::InvalidArgument,
            Self::Layer { .. } | Self::Write(_) => Kind::Internal,
            Self::Cancelled => Kind::Cancelled,
        }
    }
}
