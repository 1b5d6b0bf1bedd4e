//! Fills an empty volume with what the image has in its place.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use container_api::guest_paths::VOLUME_DATA;
use container_archive::pack::Contents;
use container_archive::unpack::{Links, Mapping, Owners, Rules, unpack};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::error::ArchiveError;
use super::piped::piped;

/// Where a copy is made before it is whole.
const PARTIAL: &str = "filling";

/// Makes a copy of the directory `from` of `root` the content of the `volume`, which is empty; nothing is done where there is no
/// such directory.
pub fn fill(root: &OwnedFd, from: &Path, volume: &Path) -> Result<(), ArchiveError> {
    let failed = |error: io::Error| ArchiveError::at(from)(error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The image's links lead nowhere but into its root.
    let directory = match openat2(root, from, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(failed(error.into())),
    };
    let found = fs::File::from(directory.try_clone().map_err(failed)?);
    let found = found.metadata().map_err(failed)?;
    let partial = &volume.join(PARTIAL);
    let made = |error| ArchiveError::at(partial)(error);
    match fs::remove_dir_all(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(made(error)),
        _ => fs::create_dir(partial).map_err(made)?,
    }
    copy(directory, partial)?;
    chown(partial, Some(found.uid()), Some(found.gid())).map_err(made)?;
    let mode = fs::Permissions::from_mode(found.mode() & 0o7777);
    fs::set_permissions(partial, mode).map_err(made)?;
    // After a crash it is all there, or filled again.
    let opened = fs::File::open(partial).map_err(made)?;
    rustix::fs::syncfs(&opened).map_err(|error| made(error.into()))?;
    // In the place of the empty one.
    fs::rename(partial, volume.join(VOLUME_DATA)).map_err(made)
}

fn copy(from: OwnedFd, to: &Path) -> Result<(), ArchiveError> {
    let contents = Contents {
        sparse: true,
        special: true,
        xattrs: true,
        owners: true,
    };
    let rules = Rules {
        // No member of a tree that was just packed leads through one.
        links: Links::Refuse,
        owners: Owners::Keep,
        privileges: true,
        special: true,
        top: false,
        in_place: true,
        // EROFS tells of no holes.
        holes: true,
    };
    let target = fs::File::open(to).map_err(ArchiveError::at(to))?;
    piped(
        contents,
        move |packer| packer.children(&from, b""),
        |reader| {
            let made = unpack(reader, None, target.into(), &Mapping::default(), rules);
            Ok(made.map(drop)?)
        },
    )
}
