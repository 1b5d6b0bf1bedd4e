//! What things take on disk, and giving it back.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::thread::on_thread;

/// Bytes allocated on disk for the file `path`; none where it cannot be told.
pub fn of_file(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| of(&metadata))
}

/// Bytes allocated on disk for what has this `metadata`.
pub fn of(metadata: &Metadata) -> u64 {
    // st_blocks counts 512-byte units (stat(2)).
    metadata.blocks() * 512
}

/// Bytes allocated on disk for the files below `directory`.
pub fn allocated(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let bytes = |entry: std::fs::DirEntry| {
        // Of a link itself, where it leads to one.
        let Ok(metadata) = entry.metadata() else {
            return 0;
        };
        let below = if metadata.is_dir() {
            allocated(&entry.path())
        } else {
            0
        };
        of(&metadata) + below
    };
    entries.flatten().map(bytes).sum()
}

/// Removes `directory` with all that is in it; gives the bytes that were allocated. Files of gigabytes take the disk's
/// time: nobody else waits for that.
pub async fn remove(directory: PathBuf) -> io::Result<u64> {
    let work = move || {
        let allocated = allocated(&directory);
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(allocated),
        }
    };
    on_thread("remove", work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_removed_is_told_and_what_is_not_there_is_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("d");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("f"), [1; 8192]).unwrap();
        assert!(remove(directory.clone()).await.unwrap() >= 8192);
        assert!(!directory.exists());
        assert_eq!(remove(directory).await.unwrap(), 0);
    }
}
