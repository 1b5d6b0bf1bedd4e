//! Why an OCI bundle does not become a container.

use std::io;
use std::path::PathBuf;

use container_api::{Error, Kind};

/// Why a `config.json` cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not the JSON of a runtime specification.
    #[error("config.json is not valid")]
    Json(#[from] serde_json::Error),
    /// Another major version may mean anything.
    #[error(
        "config.json has the version {0:?} of the runtime specification; versions 1.x are known"
    )]
    Version(String),
    /// A property without which nothing runs.
    #[error("config.json lacks `{0}`")]
    Missing(&'static str),
    /// A property that a machine of this host cannot carry out.
    #[error("config.json: `{property}` is not supported: {reason}")]
    Unsupported {
        /// Its path.
        property: String,
        /// Why.
        reason: &'static str,
    },
}

impl ConfigError {
    pub(super) fn unsupported(property: impl Into<String>, reason: &'static str) -> Self {
        Self::Unsupported {
            property: property.into(),
            reason,
        }
    }
}

/// Why a root file system does not become an image.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// In the root.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another file system is mounted there. Its files are not those of the root.
    #[error("{} is a mount point: mount it by `mounts` instead", .0.display())]
    MountPoint(PathBuf),
    /// It would delete a file instead of being one (overlayfs).
    #[error("{} has the device number 0:0, which no image can hold", .0.display())]
    Whiteout(PathBuf),
    /// A device number that no image can hold.
    #[error("{} has a device number that no image can hold", .0.display())]
    Device(PathBuf),
    /// Something that is no file of Linux.
    #[error("{} is of an unknown type", .0.display())]
    Type(PathBuf),
    /// A file became shorter, or something else.
    #[error("{} changed while it was read", .0.display())]
    Changed(PathBuf),
    /// A name, a link or a limit.
    #[error("{} does not fit into an image", path.display())]
    Tree {
        /// In the root.
        path: PathBuf,
        /// Why.
        #[source]
        source: erofs::TreeError,
    },
    /// The image cannot be written.
    #[error(transparent)]
    Write(#[from] erofs::WriteError),
}

/// Why an OCI bundle does not become a container.
#[derive(Debug, thiserror::Error)]
pub enum OciBundleError {
    /// `config.json` cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `config.json` cannot be carried out.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The root file system cannot be used.
    #[error("the root file system {}", path.display())]
    Root {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: RootError,
    },
    /// The container's own directory cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<OciBundleError> for Error {
    fn from(error: OciBundleError) -> Self {
        let kind = match &error {
            OciBundleError::Config(ConfigError::Unsupported { .. }) => Kind::Unsupported,
            OciBundleError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            OciBundleError::Config(_)
            | OciBundleError::Root { .. }
            | OciBundleError::Read { .. } => Kind::InvalidArgument,
            OciBundleError::Write { .. } => Kind::Internal,
        };
        Self::caused(kind, error)
    }
}
