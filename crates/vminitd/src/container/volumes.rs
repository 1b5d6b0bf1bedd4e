//! Volumes: ext4 disks that outlive the container, mounted in the guest's own view. The container gets what is below `data` in
//! each: what ext4 keeps for itself (`lost+found`) is no file of anybody's.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use container_api::guest::Volume;
use container_api::guest_paths::{self, VOLUME_DATA, VOLUMES};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use thiserror::Error;

use crate::disk::{self, DiskError};

/// `EXT4_IOC_RESIZE_FS` of the kernel's fs/ext4/ext4.h: `_IOW('f', 16, __u64)`.
const RESIZE: libc::Ioctl = 0x4008_6610;
/// `BLKGETSIZE64` of linux/fs.h: `_IOR(0x12, 114, size_t)`.
const SIZE: libc::Ioctl = 0x8008_1272;

/// Why a volume is not there.
#[derive(Debug, Error)]
pub enum VolumeError {
    /// The machine has no such disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Not a name that a disk has.
    #[error("invalid serial number {0:?} of a volume")]
    Name(String),
    /// Its file system.
    #[error("cannot mount the volume's disk {disk}")]
    Mount {
        /// Serial number.
        disk: String,
        #[source]
        source: io::Error,
    },
}

/// Mounts `volume`, and gives where.
pub fn mount_volume(volume: &Volume) -> Result<PathBuf, VolumeError> {
    let serial = &volume.disk;
    let plain = serial
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if serial.is_empty() || !plain {
        return Err(VolumeError::Name(serial.clone()));
    }
    let node = disk::find(serial)?;
    let target = PathBuf::from(guest_paths::volume(serial));
    let prepared = prepare(&node, &target, volume.read_only);
    prepared.map_err(|source| VolumeError::Mount {
        disk: serial.clone(),
        source,
    })?;
    Ok(target)
}

fn prepare(node: &str, target: &Path, read_only: bool) -> io::Result<()> {
    fs::create_dir_all(target)?;
    let flags = MountFlags::NOATIME;
    if !read_only {
        mount(node, target, "ext4", flags, None)?;
        grow(node, target)?;
        let data = target.join(VOLUME_DATA);
        return match fs::DirBuilder::new().mode(0o755).create(data) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        };
    }
    let flags = flags | MountFlags::RDONLY;
    // Where its last writer was killed this fails: what the journal holds cannot be put in its place on a disk that nobody may write to,
    // and without it the files are not what that writer has left. The host has it replayed before it comes to this.
    mount(node, target, "ext4", flags, None)?;
    if is_absent(&target.join(VOLUME_DATA))? {
        // Nobody has written to it: it is as empty as this.
        let strict = flags | MountFlags::NODEV | MountFlags::NOSUID;
        mount(
            "tmpfs",
            target,
            "tmpfs",
            strict.difference(MountFlags::RDONLY),
            Some(c"mode=0755,size=4k"),
        )?;
        fs::create_dir(target.join(VOLUME_DATA))?;
        mount_remount(target, flags, "")?;
    }
    Ok(())
}

/// Whether there is no `path`. What cannot be looked at is not taken for nothing.
fn is_absent(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        found => found.map(|_| false),
    }
}

/// Whether nothing is in the volume that is mounted at `target`.
pub fn is_empty(target: &Path) -> bool {
    fs::read_dir(target.join(VOLUME_DATA)).is_ok_and(|mut entries| entries.next().is_none())
}

/// Lets the file system be as large as its disk, which the host may have made larger.
fn grow(node: &str, target: &Path) -> io::Result<()> {
    let disk = File::open(node)?;
    let mut bytes = 0_u64;
    // SAFETY: BLKGETSIZE64 writes one number of that size.
    if unsafe { libc::ioctl(disk.as_raw_fd(), SIZE, &raw mut bytes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (present, size) = blocks(&disk)?;
    let wanted = bytes / size;
    if wanted <= present {
        return Ok(());
    }
    let root = File::open(target)?;
    // SAFETY: EXT4_IOC_RESIZE_FS reads one number of that size.
    if unsafe { libc::ioctl(root.as_raw_fd(), RESIZE, &raw const wanted) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How many blocks a file system has, and their size in bytes: `s_blocks_count_lo`, `s_log_block_size` and `s_blocks_count_hi` of
/// the superblock (Documentation/filesystems/ext4/super.rst), which begins at 1024.
fn blocks(disk: &File) -> io::Result<(u64, u64)> {
    let number = |at: u64| {
        let mut bytes = [0; 4];
        disk.read_exact_at(&mut bytes, 1024 + at)?;
        Ok::<_, io::Error>(u32::from_le_bytes(bytes))
    };
    let (low, high, log) = (number(0x4)?, number(0x150)?, number(0x18)?);
    // Without 64-bit numbers the upper half is not used, and zero.
    Ok((u64::from(high) << 32 | u64::from(low), 1024 << log.min(6)))
}

/// Writes everything out and marks the file systems clean. Needs every writer to be gone. Gives what went wrong.
pub fn close_volumes() -> Vec<io::Error> {
    let mut errors = Vec::new();
    for target in mounted() {
        if let Err(error) = mount_remount(&target, MountFlags::RDONLY | MountFlags::NOATIME, "") {
            errors.push(error.into());
        }
    }
    errors
}

/// Unmounts all of them. Needs everything that was in them to be gone.
pub fn unmount_volumes() -> io::Result<()> {
    for target in mounted() {
        // Over one that is empty lies another mount.
        while unmount(&target, UnmountFlags::NOFOLLOW).is_ok() {}
        fs::remove_dir(&target)?;
    }
    Ok(())
}

/// Where something is mounted.
pub fn mounted() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(VOLUMES) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}
