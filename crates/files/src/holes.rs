//! Where a file holds data. Not every file system tells: what is on one that does not (NFS before 4.2, FUSE mostly, ext2) seems to hold data
//! everywhere.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Bytes of a block of `st_blocks`, whatever the file system's have (`stat(2)`).
const BLOCK: u64 = 512;

/// The next run of `file`, of `size` bytes, that may hold data, at or behind `offset`; nothing where only a hole is left. The file's position
/// is somewhere else then.
///
/// # Errors
/// As `lseek(2)`.
pub fn data_after(
    file: impl AsFd,
    offset: u64,
    size: u64,
) -> rustix::io::Result<Option<Range<u64>>> {
    let start = match rustix::fs::seek(&file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP) => return Ok((offset < size).then_some(offset..size)),
        Err(error) => return Err(error),
    };
    let end = match rustix::fs::seek(&file, SeekFrom::Hole(start)) {
        Ok(end) => end.min(size),
        // It was cut off meanwhile.
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok((start < end).then_some(start..end))
}

/// Whether [`data_after`] leaves out the holes of `file`: not where it holds data everywhere, and takes less room than that.
///
/// # Errors
/// As `lseek(2)` and `fstat(2)`.
pub fn tells_of_holes(file: &File) -> rustix::io::Result<bool> {
    let (size, blocks) = match file.metadata() {
        Ok(found) => (found.len(), found.blocks()),
        Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    };
    let everywhere = size > 0 && data_after(file, 0, size)? == Some(0..size);
    Ok(!everywhere || blocks.saturating_mul(BLOCK) >= size)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn data_is_found_between_holes() {
        let file = tempfile::tempfile().unwrap();
        assert!(tells_of_holes(&file).unwrap());
        let size = 64 << 20;
        file.set_len(size).unwrap();
        assert_eq!(data_after(&file, 0, size).unwrap(), None);
        file.write_all_at(&[7; 4096], 16 << 20).unwrap();
        let run = data_after(&file, 0, size).unwrap().unwrap();
        assert!(
            run.contains(&(16 << 20)) && run.end - run.start < 1 << 20,
            "{run:?}"
        );
        assert_eq!(data_after(&file, run.end, size).unwrap(), None);
        assert!(tells_of_holes(&file).unwrap());
        let whole = tempfile::tempfile().unwrap();
        whole.write_all_at(&[7; 10_000], 0).unwrap();
        assert_eq!(data_after(&whole, 0, 10_000).unwrap(), Some(0..10_000));
        assert!(tells_of_holes(&whole).unwrap());
        // Shorter than it was said to be.
        assert_eq!(data_after(&whole, 20_000, 30_000).unwrap(), None);
    }
}
