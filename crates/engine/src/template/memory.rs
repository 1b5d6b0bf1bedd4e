//! Guest memory as files: sparse, copied without its holes, summed without its zeroes.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::MemfdFlags;
use sha2::{Digest, Sha256};

/// Unit in which zeroes are left out, in bytes: a page of the guest.
const PAGE: usize = 4096;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// An empty memory file of `size` bytes, without a name.
pub(crate) fn empty(size: u64) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("guest-memory", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, size)?;
    Ok(file)
}

/// Copies the pages that are not zero to the same place in `to`, which is empty, and returns
/// their [`checksum`].
pub(super) fn copy_pages(from: &File, to: &File, size: u64) -> io::Result<String> {
    to.set_len(size)?;
    sum(from, |offset, pages| to.write_all_at(pages, offset))
}

/// SHA-256, in hexadecimal, of every page that is not zero, each preceded by its offset: the same
/// for any two files of equal content, wherever their holes are.
pub(super) fn checksum(file: &File) -> io::Result<String> {
    sum(file, |_, _| Ok(()))
}

fn sum(file: &File, mut each: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    for_each_extent(file, |start, end| {
        // File systems may report extents that are not whole pages; the guest has only those.
        let mut at = start - start % PAGE as u64;
        while at < end {
            let rest = usize::try_from(end - at).unwrap_or(usize::MAX);
            let chunk = &mut buffer[..rest.next_multiple_of(PAGE).min(CHUNK)];
            file.read_exact_at(chunk, at)?;
            for page in chunk.chunks(PAGE) {
                if page.iter().any(|byte| *byte != 0) {
                    digest.update(at.to_le_bytes());
                    digest.update(page);
                    each(at, page)?;
                }
                at += PAGE as u64;
            }
        }
        Ok(())
    })?;
    Ok(hex::encode(digest.finalize()))
}

/// Calls `each` with the start and the end of every range that is not a hole.
fn for_each_extent(
    file: &File,
    mut each: impl FnMut(u64, u64) -> io::Result<()>,
) -> io::Result<()> {
    let (mut end, size) = (0, file.metadata()?.len());
    while let Some(run) = container_files::data_after(file, end, size)? {
        end = run.end;
        each(run.start, run.end)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn sample() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[7; 10_000], 1 << 20).unwrap();
        file.write_all_at(&vec![0; 1 << 20], 8 << 20).unwrap();
        file.write_all_at(&[9], (64 << 20) - 1).unwrap();
        file
    }

    #[test]
    fn copies_are_equal_and_leave_zeroes_out() {
        let original = sample();
        let saved = tempfile::tempfile().unwrap();
        let sum = copy_pages(&original, &saved, 64 << 20).unwrap();
        assert_eq!(checksum(&original).unwrap(), sum);
        assert_eq!(checksum(&saved).unwrap(), sum);
        assert!(saved.metadata().unwrap().blocks() * 512 < 1 << 20);
        let mut bytes = [0; 3];
        saved.read_exact_at(&mut bytes, (1 << 20) + 9_998).unwrap();
        assert_eq!(bytes, [7, 7, 0]);
    }

    #[test]
    fn the_checksum_sees_content_and_place() {
        let sum = checksum(&sample()).unwrap();
        let flipped = sample();
        flipped.write_all_at(&[6], (1 << 20) + 5000).unwrap();
        assert_ne!(checksum(&flipped).unwrap(), sum);
        let moved = tempfile::tempfile().unwrap();
        moved.write_all_at(&[7; 4096], 4096).unwrap();
        let there = tempfile::tempfile().unwrap();
        there.write_all_at(&[7; 4096], 0).unwrap();
        assert_ne!(checksum(&moved).unwrap(), checksum(&there).unwrap());
    }
}
