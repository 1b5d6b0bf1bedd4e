//! The container's root: the image (EROFS, read-only) under a writable layer (ext4 or tmpfs), by overlayfs.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use container_api::guest::Root;
use rustix::mount::{mount, mount_remount, MountAttrFlags, MountFlags};
use thiserror::Error;

use crate::boot::{IMAGE, UPPER};
use crate::mount::{Filesystem, FilesystemError};
use crate::uevent;

/// The VMM's disks exist when the kernel starts; a node that is missing then is on its way, or never comes.
const PATIENCE: Duration = Duration::from_secs(5);
/// virtio-blk names its disks vda to vdz here; no container has more.
const DISKS_MAX: u32 = 26;

/// Why there is no root.
#[derive(Debug, Error)]
pub enum RootError {
    /// The VMM has no disk of this index.
    #[error("there is no disk {0}")]
    NoDisk(u32),
    /// sysfs or uevents.
    #[error("cannot wait for disk {index}")]
    Wait {
        index: u32,
        #[source]
        source: io::Error,
    },
    /// The image, the writable layer or the overlay.
    #[error("cannot mount {what}")]
    Mount {
        what: String,
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

/// The mounted writable disk, to be detached cleanly at the end.
#[derive(Debug)]
pub struct UpperDisk(());

impl UpperDisk {
    /// Writes everything out and marks the file system clean. Needs every writer to be gone.
    pub fn close(&self) -> io::Result<()> {
        Ok(mount_remount(UPPER, MountFlags::RDONLY, "")?)
    }
}

/// Mounts the root, detached: whoever attaches the descriptor in their mount namespace sees it.
pub fn mount_root(root: &Root) -> Result<(OwnedFd, Option<UpperDisk>), RootError> {
    let image = disk(root.image_disk)?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV;
    mount(&image, IMAGE, "erofs", flags, None).map_err(|source| RootError::Mount {
        what: format!("the image from {image}"),
        source: source.into(),
    })?;
    let upper_disk = match root.upper_disk {
        Some(index) => {
            let upper = disk(index)?;
            // Access times would make every read of the container a write of this disk.
            mount(&upper, UPPER, "ext4", MountFlags::NOATIME, None).map_err(|source| {
                RootError::Mount {
                    what: format!("the writable layer from {upper}"),
                    source: source.into(),
                }
            })?;
            Some(UpperDisk(()))
        }
        None => {
            mount("tmpfs", UPPER, "tmpfs", MountFlags::NOATIME, Some(c"mode=0700")).map_err(
                |source| RootError::Mount {
                    what: "the writable layer in memory".to_owned(),
                    source: source.into(),
                },
            )?;
            None
        }
    };
    prepare_layer().map_err(RootError::Layer)?;
    Ok((overlay()?, upper_disk))
}

/// `/dev/vd<letter>` of the disk, waited for if need be.
fn disk(index: u32) -> Result<String, RootError> {
    let letter = (index < DISKS_MAX)
        .then(|| char::from_u32(u32::from(b'a') + index))
        .flatten()
        .ok_or(RootError::NoDisk(index))?;
    let node = format!("/dev/vd{letter}");
    let found = uevent::wait_for(PATIENCE, || match fs::metadata(&node) {
        Ok(_) => Ok(Some(())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    match found {
        Ok(Some(())) => Ok(node),
        Ok(None) => Err(RootError::NoDisk(index)),
        Err(source) => Err(RootError::Wait { index, source }),
    }
}

/// Makes the overlay's two directories. The merged root takes owner and mode from the upper one, so the image's
/// are carried over.
fn prepare_layer() -> io::Result<()> {
    let [upper, new, work] = ["upper", "upper.new", "work"].map(|name| Path::new(UPPER).join(name));
    if upper.exists() {
        return Ok(());
    }
    for directory in [&work, &new] {
        match fs::DirBuilder::new().mode(0o755).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
    }
    let image = fs::metadata(IMAGE)?;
    std::os::unix::fs::chown(&new, Some(image.uid()), Some(image.gid()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(image.mode() & 0o7777))?;
    fs::rename(&new, &upper)
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
