//! The writable layer: a sparse ext4 disk.
//!
//! An empty one is made once per size with `mke2fs` and copied, extent by extent or by reflink, for each
//! container: that takes a tenth of the time.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use container_files::Links;
use rustix::fs::{FallocateFlags, SeekFrom};

/// Bytes of a writable layer unless asked otherwise. Only what is written takes room.
pub const DEFAULT_SIZE: u64 = 64 << 30;

/// Changes when the format does, so that an empty disk of another format is not used.
const REVISION: u32 = 2;

/// Options of `mke2fs(8)`. The tables and the journal are left unwritten: the guest's kernel knows what is
/// unused, and a hole reads as zeroes. Without spare superblocks and with each group's tables in the group
/// (`-G1`) four runs of the disk hold data, not 47, and the guest's allocator looks at one group before its
/// first write, not at 16. Nothing is kept for root, whose container it is.
const FORMAT: [&str; 10] = [
    "-q",
    "-F",
    "-text4",
    "-m0",
    "-G1",
    "-Jsize=64",
    "-O",
    "^resize_inode,sparse_super2",
    "-E",
    "num_backup_sb=0,lazy_itable_init=1,lazy_journal_init=1,nodiscard,assume_storage_prezeroed=1",
];

/// From this size on block numbers have 64 bits, and group descriptors twice the size.
const WIDE: u64 = 16 << 40;

/// Why there is no writable layer.
#[derive(Debug, thiserror::Error)]
pub enum UpperError {
    /// `mke2fs` could not be started.
    #[error("cannot run mke2fs (Debian package e2fsprogs)")]
    Spawn(#[source] io::Error),
    /// `mke2fs` failed.
    #[error("mke2fs failed: {0}")]
    Format(String),
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes an empty writable layer of `size` bytes at `path` unless there is one.
pub fn prepare(path: &Path, size: u64, cache: &Path) -> Result<(), UpperError> {
    if path.exists() {
        return Ok(());
    }
    let empty = empty(size, cache)?;
    let partial = path.with_extension("partial");
    let copied = container_files::create(&partial)
        .and_then(|file| copy(&empty, &file))
        .and_then(|()| std::fs::rename(&partial, path));
    copied.map_err(|source| {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
        UpperError::Write {
            path: path.to_path_buf(),
            source,
        }
    })
}

/// Makes an empty writable layer of `size` bytes that has no name: it is gone when nobody has it open.
pub fn unnamed(size: u64, cache: &Path) -> Result<File, UpperError> {
    let empty = empty(size, cache)?;
    let path = cache.join(format!(".unnamed-{}", std::process::id()));
    let made = container_files::create(&path).and_then(|file| {
        // Before there is anything in it that somebody would have to clear away.
        std::fs::remove_file(&path)?;
        copy(&empty, &file)?;
        Ok(file)
    });
    made.map_err(|source| UpperError::Write { path, source })
}

/// The empty layer that others are copied from.
fn empty(size: u64, cache: &Path) -> Result<PathBuf, UpperError> {
    let empty = cache.join(format!("upper-{size}-{REVISION}.ext4"));
    if !empty.exists() {
        make(&empty, size, cache)?;
    }
    Ok(empty)
}

fn make(empty: &Path, size: u64, cache: &Path) -> Result<(), UpperError> {
    let write = |source| UpperError::Write {
        path: empty.to_path_buf(),
        source,
    };
    std::fs::create_dir_all(cache).map_err(write)?;
    // Another helper may do the same: each makes its own, and the last rename wins.
    let partial = cache.join(format!(".upper-{size}-{}", std::process::id()));
    let made = container_files::create(&partial)
        .and_then(|file| file.set_len(size))
        .map_err(write)
        .and_then(|()| format(&partial, size))
        .and_then(|()| std::fs::rename(&partial, empty).map_err(write));
    if made.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    made
}

/// Makes a file system in the file `disk` of `size` bytes.
fn format(disk: &Path, size: u64) -> Result<(), UpperError> {
    let output = Command::new("mke2fs")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
        )
        .args(FORMAT)
        .args(["-O", if size < WIDE { "^64bit" } else { "64bit" }])
        .arg(disk)
        .output()
        .map_err(UpperError::Spawn)?;
    if output.status.success() {
        return Ok(());
    }
    Err(UpperError::Format(match output.status.signal() {
        Some(signal) => format!("killed by signal {signal}"),
        None => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }))
}

/// Copies a sparse file: by reflink where the file system can, else only the runs that hold data.
fn copy(from: &Path, target: &File) -> io::Result<()> {
    let source = container_files::open(from, Links::Refuse)?;
    if rustix::fs::ioctl_ficlone(target, &source).is_ok() {
        return Ok(());
    }
    let size = source.metadata()?.len();
    target.set_len(size)?;
    let mut offset = 0;
    while offset < size {
        let data = match rustix::fs::seek(&source, SeekFrom::Data(offset)) {
            Ok(data) => data,
            // No data after `offset`.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(&source, SeekFrom::Hole(data))?;
        // Asked for first, so that a full disk is an error here and not a lost write of the guest.
        rustix::fs::fallocate(target, FallocateFlags::empty(), data, hole - data)?;
        let (mut read, mut written) = (data, data);
        while read < hole {
            let wanted = usize::try_from(hole - read)
                .unwrap_or(usize::MAX)
                .min(1 << 30);
            if rustix::fs::copy_file_range(
                &source,
                Some(&mut read),
                target,
                Some(&mut written),
                wanted,
            )? == 0
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        offset = hole;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_layer_is_sparse_sound_and_made_once() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = scratch.path().join("cache");
        let path = scratch.path().join("upper.ext4");
        prepare(&path, DEFAULT_SIZE, &cache).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), DEFAULT_SIZE);
        assert!(
            metadata.blocks() * 512 < 256 << 10,
            "{} bytes allocated",
            metadata.blocks() * 512
        );
        let check = Command::new("/sbin/e2fsck")
            .arg("-fn")
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            check.status.success(),
            "{}",
            String::from_utf8_lossy(&check.stdout)
        );
        std::fs::write(&path, "used").unwrap();
        prepare(&path, DEFAULT_SIZE, &cache).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"used");
        let unnamed = unnamed(DEFAULT_SIZE, &cache).unwrap().metadata().unwrap();
        assert_eq!((unnamed.len(), unnamed.nlink()), (DEFAULT_SIZE, 0));
        assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 1);
    }
}
