//! Volumes: ext4 disks that outlive the container, mounted in the guest's own view. The container gets what is below `data` in
//! each: what ext4 keeps for itself (`lost+found`) is no file of anybody's.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use container_api::guest::Volume;
use container_api::guest_paths::{self, VOLUME_DATA, VOLUMES};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use thiserror::Error;

use super::growth::Growth;
use crate::disk::{self, DiskError};

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

/// Mounts all of `volumes`, and gives where. Those that have become larger grow, the rest of it is left to `growth`.
pub fn mount_volumes(volumes: &[Volume], growth: &Growth) -> Result<Vec<PathBuf>, VolumeError> {
    let deadline = Growth::deadline();
    let mount = |volume| mount_volume(volume, growth, deadline);
    volumes.iter().map(mount).collect()
}

fn mount_volume(
    volume: &Volume,
    growth: &Growth,
    deadline: Instant,
) -> Result<PathBuf, VolumeError> {
    let serial = &volume.disk;
    let plain = serial
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if serial.is_empty() || !plain {
        return Err(VolumeError::Name(serial.clone()));
    }
    let node = disk::find(serial)?;
    let target = PathBuf::from(guest_paths::volume(serial));
    let mut prepared = prepare(&node, &target, volume.read_only);
    if !volume.read_only {
        prepared = prepared.and_then(|()| growth.begin(&node, &target, deadline));
    }
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

/// Whether `root` may have a directory at `path`, whose links lead nowhere but into `root`.
pub fn is_directory(root: &OwnedFd, path: &str) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(root, path, flags, Mode::empty(), how);
    !matches!(found, Err(Errno::NOENT | Errno::NOTDIR))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_looked_for_within_its_root() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        fs::create_dir_all(root.join("var/lib")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, root.join(name)).unwrap();
        link("/var", "inside");
        link("/../../..", "top");
        link(scratch.path().to_str().unwrap(), "outside");
        let root: OwnedFd = fs::File::open(&root).unwrap().into();
        for (path, expected) in [
            ("/var/lib", true),
            ("inside/lib", true),
            ("top/var", true),
            ("/", true),
            ("file", false),
            ("file/x", false),
            ("absent", false),
            ("outside/root", false),
        ] {
            assert_eq!(is_directory(&root, path), expected, "{path}");
        }
    }
}
