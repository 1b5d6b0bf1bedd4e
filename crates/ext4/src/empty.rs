//! Copies of empty disks: one is made per format and copied, extent by extent or by reflink, for each container. That takes a tenth
//! of the time.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use container_files::Links;

use crate::copy::copy;
use crate::format::{DiskError, Format, make};

/// Makes an empty disk at `path` unless there is one.
///
/// # Errors
/// When it cannot be made; nothing is left then.
pub fn prepare(path: &Path, format: &Format, cache: &Path) -> Result<(), DiskError> {
    if path.exists() {
        return Ok(());
    }
    let empty = empty(format, cache)?;
    let partial = path.with_extension("partial");
    let write = |source| DiskError::Write {
        path: path.to_path_buf(),
        source,
    };
    let made = if is_copied(&empty).map_err(write)? {
        let copied = container_files::create(&partial).and_then(|file| copy(&empty, &file));
        copied.map_err(write)
    } else {
        make(&partial, format).map(drop)
    };
    let made = made.and_then(|()| std::fs::rename(&partial, path).map_err(write));
    if made.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    made
}

/// Whether the `empty` disk is copied: not where its file system tells of no holes, as all of it would be read.
fn is_copied(empty: &Path) -> io::Result<bool> {
    let source = container_files::open(empty, Links::Refuse)?;
    Ok(container_files::tells_of_holes(&source)?)
}

/// Makes an empty disk that has no name: it is gone when no process has it open.
///
/// # Errors
/// As [`prepare`].
pub fn unnamed(format: &Format, cache: &Path) -> Result<File, DiskError> {
    let empty = empty(format, cache)?;
    let path = cache.join(format!(".unnamed-{}", std::process::id()));
    let write = |source| DiskError::Write {
        path: path.clone(),
        source,
    };
    if !is_copied(&empty).map_err(write)? {
        let made = make(&path, format);
        let removed = std::fs::remove_file(&path);
        return made.and_then(|file| removed.map(|()| file).map_err(write));
    }
    let copied = container_files::create(&path).and_then(|file| {
        // Before there is anything in it that somebody would have to clear away.
        std::fs::remove_file(&path)?;
        copy(&empty, &file)?;
        Ok(file)
    });
    copied.map_err(write)
}

/// The empty disk that others are copied from.
fn empty(format: &Format, cache: &Path) -> Result<PathBuf, DiskError> {
    let empty = cache.join(format!("upper-{}.ext4", format.name()));
    if empty.exists() {
        return Ok(empty);
    }
    let write = |source| DiskError::Write {
        path: empty.clone(),
        source,
    };
    std::fs::create_dir_all(cache).map_err(write)?;
    // Another helper may do the same: each makes its own, and the last rename wins.
    let partial = cache.join(format!(".upper-{}-{}", format.name(), std::process::id()));
    let made =
        make(&partial, format).and_then(|_| std::fs::rename(&partial, &empty).map_err(write));
    if made.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    made.map(|()| empty)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_disk_is_sparse_and_made_once() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = scratch.path().join("cache");
        let path = scratch.path().join("upper.ext4");
        let format = Format::default();
        prepare(&path, &format, &cache).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), format.size);
        assert!(
            metadata.blocks() * 512 < 256 << 10,
            "{} bytes allocated",
            metadata.blocks() * 512
        );
        std::fs::write(&path, "used").unwrap();
        prepare(&path, &format, &cache).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"used");
        let unnamed = unnamed(&format, &cache).unwrap().metadata().unwrap();
        assert_eq!((unnamed.len(), unnamed.nlink()), (format.size, 0));
        assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 1);
    }
}
