//! What things take on disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes allocated on disk for the files of `directory`.
pub fn allocated(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    // st_blocks counts 512-byte units (stat(2)).
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.blocks() * 512)
        .sum()
}
