//! The container's root: the image (EROFS, read-only) under a writable layer (ext4 or tmpfs), by overlayfs.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use container_api::guest::Root;
use rustix::fs::{Advice, Mode, OFlags, fadvise};
use rustix::mount::{MountAttrFlags, MountFlags, UnmountFlags, mount, mount_remount, unmount};
use thiserror::Error;

use crate::boot::{IMAGE, UPPER};
use crate::disk::{self, DiskError};
use crate::mount::{Filesystem, FilesystemError};

/// Bytes at the image's beginning that are read at once: the mount and the first paths would ask for them block by block.
const READ_AHEAD: NonZeroU64 = NonZeroU64::new(128 << 10).unwrap();

/// Why there is no root.
#[derive(Debug, Error)]
pub enum RootError {
    /// The machine has no such disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The image or the writable layer.
    #[error("cannot mount {disk} as {kind}")]
    Mount {
        kind: &'static str,
        disk: String,
        #[source]
        source: io::Error,
    },
    /// The overlay, through the new mount interface.
    #[error("cannot mount the root")]
    Overlay(#[from] FilesystemError),
    /// The directories of the writable layer.
    #[error("cannot prepare the writable layer")]
    Layer(#[source] io::Error),
}

/// Mounts the root, detached: whoever attaches the descriptor in their mount namespace sees it.
pub fn mount_root(root: &Root) -> Result<OwnedFd, RootError> {
    let image = disk::find(&root.image_disk)?;
    // Open until the mount holds the disk: the last one who closes it drops what was read.
    let _ahead = read_ahead(&image);
    let flags = MountFlags::RDONLY | MountFlags::NODEV;
    mount_at(&image, IMAGE, "erofs", flags, None)?;
    // Access times would make every read of the container a write of the layer.
    let flags = MountFlags::NOATIME;
    if let Some(serial) = &root.upper_disk {
        mount_at(&disk::find(serial)?, UPPER, "ext4", flags, None)?;
    } else {
        mount_at("tmpfs", UPPER, "tmpfs", flags, Some(c"mode=0700"))?;
    }
    prepare_layer().map_err(RootError::Layer)?;
    Ok(overlay()?)
}

/// Writes everything of the writable disk out and marks its file system clean. Needs every writer to be gone.
pub fn close_upper() -> io::Result<()> {
    Ok(mount_remount(UPPER, MountFlags::RDONLY, "")?)
}

/// Unmounts what the root was made of, and sees to it that no disk is in use any more: a mount that somebody has kept would
/// be met again, with what it remembers of its disk, by whoever mounts another disk in its place. Needs everything that
/// was in the root to be gone.
pub fn unmount_root() -> io::Result<()> {
    for place in [UPPER, IMAGE] {
        unmount(place, UnmountFlags::NOFOLLOW)?;
    }
    for node in disk::all()? {
        // EBUSY where a file system has it (open(2), O_EXCL of a block device).
        let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::open(node, flags, Mode::empty())?;
    }
    Ok(())
}

/// Begins to read the metadata of `image`. Should that fail, the mount says why.
fn read_ahead(image: &str) -> io::Result<fs::File> {
    let disk = fs::File::open(image)?;
    fadvise(&disk, 0, Some(READ_AHEAD), Advice::WillNeed)?;
    Ok(disk)
}

fn mount_at(
    source: &str,
    target: &str,
    kind: &'static str,
    flags: MountFlags,
    data: Option<&CStr>,
) -> Result<(), RootError> {
    mount(source, target, kind, flags, data).map_err(|error| RootError::Mount {
        kind,
        disk: source.to_owned(),
        source: error.into(),
    })
}

/// Makes the overlay's two directories. The merged root takes owner and mode from the upper one, so the image's
/// are carried over, once: the work directory, made last, tells that they were.
fn prepare_layer() -> io::Result<()> {
    let [upper, work] = ["upper", "work"].map(|name| Path::new(UPPER).join(name));
    if work.exists() {
        return Ok(());
    }
    match fs::DirBuilder::new().mode(0o755).create(&upper) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => result?,
    }
    let (image, made) = (fs::metadata(IMAGE)?, fs::metadata(&upper)?);
    if (image.uid(), image.gid()) != (made.uid(), made.gid()) {
        std::os::unix::fs::chown(&upper, Some(image.uid()), Some(image.gid()))?;
    }
    // Last, as a change of the owner takes bits of the mode away.
    if image.mode() != fs::metadata(&upper)?.mode() {
        fs::set_permissions(&upper, fs::Permissions::from_mode(image.mode() & 0o7777))?;
    }
    fs::create_dir(&work)
}

/// The writable layer belongs to this guest alone and is only ever read through an overlay like this one. So
/// directories of the image can be renamed (`redirect_dir`) and a change of owner or mode copies no data
/// (`metacopy`). No `index`: the layer may be used again over a rebuilt image.
fn overlay() -> Result<OwnedFd, FilesystemError> {
    let mut overlay = Filesystem::open("overlay")?;
    for (key, value) in [
        ("source", "overlay"),
        ("lowerdir", IMAGE),
        ("upperdir", &format!("{UPPER}/upper")),
        ("workdir", &format!("{UPPER}/work")),
        ("redirect_dir", "on"),
        ("metacopy", "on"),
        ("index", "off"),
        ("xino", "auto"),
    ] {
        overlay.set(key, value)?;
    }
    overlay.mount(MountAttrFlags::empty())
}
