//! Why an operation failed, for whoever asked for it.

use std::io;
use std::path::PathBuf;

use container_archive::pack::PackError;
use container_archive::place::PlaceError;
use container_archive::tar::TarError;
use container_archive::unpack::UnpackError;

use super::absent;

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The container's view.
    #[error("cannot enter the container's root")]
    Enter(#[source] io::Error),
    /// What the root is made of.
    #[error("cannot open the layers of the root")]
    Layers(#[source] io::Error),
    /// A path that leads nowhere, or is not to be read.
    #[error("{}", .path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A place that is a mount's while the container runs.
    #[error("{} is not there while the container does not run: something is mounted there", .0.display())]
    Absent(PathBuf),
    /// A file that is named as a directory is.
    #[error("source path is not a directory: {}", .0.display())]
    NoDirectory(PathBuf),
    /// Nowhere to put it.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Its copy would be copied, too.
    #[error("cannot copy the directory {} into itself", .0.display())]
    IntoItself(PathBuf),
    /// There is nothing to put anywhere.
    #[error("the archive is empty")]
    Empty,
    /// A tree that is read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A tree that is written.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The tar that comes.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The disk did not take it.
    #[error("what was copied is not on the disk: the host may have no room for it")]
    Unwritten(#[source] io::Error),
    /// Whoever has the file system held does not let it go on.
    #[error("the file system was held for too long")]
    Held,
    /// Standard output.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

impl ArchiveError {
    /// What happened at `path`.
    pub fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| {
            if absent::is_absent(&path) {
                Self::Absent(path)
            } else {
                Self::Path { path, source }
            }
        }
    }
}
