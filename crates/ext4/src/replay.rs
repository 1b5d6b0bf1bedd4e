//! Whether a file is a disk at all, and was closed in order.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use container_files::Links;

/// Where the superblock's magic number and its field of incompatible features are (Documentation/filesystems/ext4/super.rst).
const MAGIC_AT: u64 = 1024 + 0x38;
const INCOMPATIBLE_AT: u64 = 1024 + 0x60;
/// `s_mnt_count`: how often the kernel has mounted it and could write to it.
const MOUNTS_AT: u64 = 1024 + 0x34;
/// Its magic number.
const MAGIC: u16 = 0xef53;
/// `INCOMPAT_RECOVER`: the journal holds what is not in its place.
const RECOVER: u32 = 0x4;

/// Whether the file at `path` begins as an ext4 disk does.
///
/// # Errors
/// As `open(2)` and `read(2)`; [`io::ErrorKind::InvalidData`] when no file is there but something else.
pub fn is_ext4(path: &Path) -> io::Result<bool> {
    let disk = container_files::open(path, Links::Refuse)?;
    let mut magic = [0; 2];
    match disk.read_exact_at(&mut magic, MAGIC_AT) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| u16::from_le_bytes(magic) == MAGIC),
    }
}

/// Whether the file at `path` is an ext4 disk that was never mounted to be written to.
///
/// As with [`needs_replay`], nothing follows from it but a machine that mounts the disk.
///
/// # Errors
/// As `open(2)` and `read(2)`; a disk that is too short for a superblock is none.
pub fn is_unused(path: &Path) -> io::Result<bool> {
    let disk = container_files::open(path, Links::Refuse)?;
    let (mut magic, mut mounts) = ([0; 2], [0; 2]);
    for (bytes, at) in [(&mut magic, MAGIC_AT), (&mut mounts, MOUNTS_AT)] {
        match disk.read_exact_at(bytes, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
    }
    Ok(u16::from_le_bytes(magic) == MAGIC && mounts == [0; 2])
}

/// Whether the journal of the ext4 disk at `path` must be replayed before its files can be trusted. A disk that is mounted for writing, or
/// that was when its machine was killed, has the mark for it.
///
/// These six bytes, and two that count the mounts ([`is_unused`]), are all that the host ever reads of a disk that a guest has written to;
/// nothing follows from them but a machine that mounts it.
///
/// # Errors
/// As `open(2)` and `read(2)`; a disk that is too short for a superblock has no journal.
pub fn needs_replay(path: &Path) -> io::Result<bool> {
    let disk = container_files::open(path, Links::Refuse)?;
    let (mut magic, mut features) = ([0; 2], [0; 4]);
    for (bytes, at) in [
        (&mut magic[..], MAGIC_AT),
        (&mut features[..], INCOMPATIBLE_AT),
    ] {
        match disk.read_exact_at(bytes, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
    }
    Ok(u16::from_le_bytes(magic) == MAGIC && u32::from_le_bytes(features) & RECOVER != 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{Format, make};

    #[test]
    fn the_mark_is_the_one_that_e2fsprogs_set() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("disk");
        std::fs::write(&path, "short").unwrap();
        assert!(!needs_replay(&path).unwrap() && !is_ext4(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let format = Format {
            size: 64 << 20,
            ..Format::default()
        };
        make(&path, &format).unwrap();
        assert!(is_ext4(&path).unwrap() && is_unused(&path).unwrap());
        assert!(!needs_replay(&path).unwrap());
        let set = Command::new("/sbin/debugfs")
            .args(["-w", "-R", "feature needs_recovery"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(set.status.success(), "{set:?}");
        assert!(needs_replay(&path).unwrap());
        assert!(needs_replay(&scratch.path().join("none")).is_err());
    }
}
