//! Maps each failure to the kind of error that a client gets.

use std::io;

use container_api::{Error, Kind};

use crate::archive::{LoadError, SaveError};
use crate::image::{DeleteError, FindError, GraphError, TagError};
use crate::import::{BaseError, ImportError};
use crate::layer::merge::MergeLayersError;
use crate::layer::unpack::UnpackError;
use crate::registry::credentials::CredentialError;
use crate::registry::pull::PullError;
use crate::registry::push::PushError;
use crate::registry::{FetchError, RegistryError};
use crate::root::RootError;
use crate::store::{IngestError, StoreError};

/// An error of this process that knows what it means to a client.
pub(super) trait Fault: std::error::Error + Send + Sync + Sized + 'static {
    /// What a client acts on.
    fn kind(&self) -> Kind;

    /// What people can do about it.
    fn hint(&self) -> Option<String> {
        None
    }

    /// For the wire.
    fn fault(self) -> Error {
        let (kind, hint) = (self.kind(), self.hint());
        let mut error = Error::caused(kind, self);
        error.hint = hint;
        error
    }
}

/// What helps against damage.
const AGAIN: &str = "Pull or load the image again.";

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
            Self::DamagedBlob(_) | Self::Index { .. } | Self::Gone(_) => Kind::InvalidState,
            Self::TooLarge { .. } => Kind::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingBlob(_) | Self::DamagedBlob(_) => Some(AGAIN.into()),
            Self::Index { path, .. } => Some(format!(
                "Nothing was removed or written over. Put {path} back from a copy of yours, or move it and \
                 index.copy.json away to begin without names, and pull or load the images again."
            )),
            Self::Gone(_) => Some(
                "Put it back from a copy of yours, or begin without images: `container system stop`, `container system start`, and pull or \
                 load them again."
                    .to_owned(),
            ),
            Self::File { .. } | Self::TooLarge { .. } => None,
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

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

impl Fault for DeleteError {
    fn kind(&self) -> Kind {
        match self {
            Self::Conflict { .. } => Kind::InvalidState,
            Self::Find(error) => error.kind(),
        }
    }
}

impl Fault for TagError {
    fn kind(&self) -> Kind {
        match self {
            Self::Reference(_) | Self::Digest(_) => Kind::InvalidArgument,
            Self::Find(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Reference(_) | Self::Digest(_) => None,
            Self::Find(error) => error.hint(),
            Self::Store(error) => error.hint(),
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

impl Fault for FetchError {
    fn kind(&self) -> Kind {
        match self {
            Self::Address(_) | Self::TooLarge => Kind::InvalidArgument,
            Self::Server(error) => error.kind(),
            Self::Broken(_) | Self::Stalled => Kind::Unavailable,
            Self::Write(error) => of_io(error),
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

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

impl Fault for LoadError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSpace | Self::Reserve(_) => Kind::Exhausted,
            Self::Copy { source, .. } => of_io(source),
            Self::Blob { source, .. } | Self::Ingest(source) => source.kind(),
            Self::Store(error) => error.kind(),
            Self::Image(_, error) | Self::Part(_, error) => error.kind(),
            Self::Root(_, error) => error.kind(),
            Self::Cancelled => Kind::Cancelled,
            _ => Kind::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Root(_, error) => error.hint(),
            Self::NoIndex | Self::TooMany(_) | Self::Device(_) => Some(
                "The tar of a root file system becomes an image with `container image import`."
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl Fault for SaveError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoPlatform(_) => Kind::Unsupported,
            Self::Damaged { .. } => Kind::InvalidState,
            Self::Write(error) => of_io(error),
            Self::Store(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

impl Fault for ImportError {
    fn kind(&self) -> Kind {
        match self {
            Self::Change(_) => Kind::InvalidArgument,
            Self::Unpack(error) => error.kind(),
            Self::Base(BaseError::Document(_) | BaseError::Layers { .. }) => Kind::Internal,
            Self::Root(error) => error.kind(),
            Self::Ingest(error) => error.kind(),
            Self::Base(BaseError::Store(error)) | Self::Store(error) => error.kind(),
            Self::Cancelled => Kind::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unpack(error) => error.hint(),
            Self::Root(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
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
            | Self::RefusedName { .. }
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
            Self::NoPlatform(_) => Kind::Unsupported,
            Self::Image(error) => error.kind(),
            Self::Ingest(error) => error.kind(),
            Self::Unpack(error) => error.kind(),
            Self::Root(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Cancelled => Kind::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unpack(error) => error.hint(),
            Self::Root(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

impl Fault for PushError {
    fn kind(&self) -> Kind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::NoName(_) | Self::Referrer { .. } => Kind::InvalidArgument,
            Self::NoPlatform(_) | Self::Incomplete { .. } => Kind::Unsupported,
            Self::Image { .. } => Kind::InvalidState,
            Self::Store(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::Incomplete { .. } => {
                Some("Choose one with --platform, or pull the others first.".to_owned())
            }
            _ => None,
        }
    }
}

impl Fault for UnpackError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused { .. }
            | Self::TooSlow { .. }
            | Self::Blob { .. }
            | Self::DiffId { .. } => Kind::InvalidArgument,
            Self::DamagedBlob(_) | Self::Lost { .. } => Kind::InvalidState,
            Self::TooLarge { .. } | Self::Image(_) | Self::NoSpace { .. } => Kind::Exhausted,
            Self::Died { .. } => Kind::Internal,
            Self::Worker(error) => of_io(error),
            Self::Store(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::DamagedBlob(_) | Self::Lost { .. } => Some(AGAIN.into()),
            Self::TooLarge { budget, .. } => Some(raise(budget.key())),
            Self::Image(_) => Some(raise("image.maxUnpackedSize")),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

impl Fault for RootError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoImage(_) => Kind::NotFound,
            Self::Unpack(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Damaged { source, .. } => source.kind(),
            Self::Merge(error) => error.kind(),
            Self::Cancelled => Kind::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { source, .. } => source.hint(),
            Self::Unpack(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

impl Fault for MergeLayersError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) => Kind::InvalidArgument,
            Self::NoSpace => Kind::Exhausted,
            Self::Died(_) => Kind::Internal,
            Self::Worker(error) => of_io(error),
        }
    }
}

fn raise(key: &'static str) -> String {
    format!(
        "If you trust the image, raise {key} in config.toml, and stop and start the system. `container system property \
         list` shows what holds."
    )
}
