//! The container's root, and what it is made of.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use container_api::guest_paths::VOLUME_DATA;
use rustix::fs::{CWD, Mode, OFlags, open, openat};
use rustix::process::chdir;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::error::ArchiveError;
use crate::boot::{IMAGE, UPPER};
use crate::mount::view;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Sees the file systems as the process that `leader` refers to does, from here on: its root is this process's.
pub fn enter(leader: &OwnedFd) -> Result<(), ArchiveError> {
    move_into_thread_name_spaces(leader.as_fd(), ThreadNameSpaceType::MOUNT)
        .map_err(|error| ArchiveError::Enter(error.into()))
}

/// Has what the container has in the volume that is mounted at `place` as its root, from here on. Nothing that the container puts there
/// leads out of it.
pub fn enter_volume(place: &Path) -> Result<(), ArchiveError> {
    let entered = rustix::process::chroot(place.join(VOLUME_DATA)).and_then(|()| chdir("/"));
    entered.map_err(|error| ArchiveError::Enter(error.into()))
}

/// The root without what is mounted in it.
pub fn bare() -> Result<OwnedFd, ArchiveError> {
    let opened =
        view(CWD, "/", false).and_then(|root| openat(&root, ".", DIRECTORY, Mode::empty()));
    opened.map_err(|error| ArchiveError::Enter(error.into()))
}

/// The image's tree, and that of what was written over it. To be called before [`enter`].
pub fn layers() -> Result<(OwnedFd, OwnedFd), ArchiveError> {
    let open = |path: &str| open(path, DIRECTORY, Mode::empty()).map_err(io::Error::from);
    let both = || Ok((open(IMAGE)?, open(&format!("{UPPER}/upper"))?));
    both().map_err(ArchiveError::Layers)
}
