//! How much room a file system has. Not every one tells: what counts nothing (ramfs, some of FUSE) has no block at all, and is not full.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::StatVfs;

/// Bytes that this user may still write to the file system of `path`; nothing where it does not tell.
///
/// # Errors
/// As `statvfs(3)`.
pub fn free_at(path: &Path) -> rustix::io::Result<Option<u64>> {
    rustix::fs::statvfs(path).map(|found| free(&found))
}

/// As [`free_at`], for that of an open file.
///
/// # Errors
/// As `fstatvfs(3)`.
pub fn free_around(file: impl AsFd) -> rustix::io::Result<Option<u64>> {
    rustix::fs::fstatvfs(file).map(|found| free(&found))
}

fn free(found: &StatVfs) -> Option<u64> {
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_nothing_is_not_full() {
        let scratch = tempfile::tempdir().unwrap();
        assert!(free_at(scratch.path()).unwrap().is_some());
        assert_eq!(free_at(Path::new("/proc")).unwrap(), None);
        let file = std::fs::File::open(scratch.path()).unwrap();
        assert!(free_around(&file).unwrap().is_some());
        assert!(free_at(&scratch.path().join("none")).is_err());
    }
}
