//! Files whose zeros take no room on the disk: a layer that was committed is a plain tar, with the holes of its files written out.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::iter;

/// Bytes of a block that may be a hole: what most file systems have.
const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A new file that is written from its beginning on.
#[derive(Debug)]
pub(super) struct SparseFile {
    file: File,
    /// Bytes that were taken.
    length: u64,
    /// The last of them are a hole that the file does not have yet.
    ends_in_hole: bool,
}

impl SparseFile {
    /// Writes to `file`, which is empty.
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            length: 0,
            ends_in_hole: false,
        }
    }

    /// Gives the file its whole length, and has it on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_all()
    }
}

impl Write for SparseFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // It fits: a block is smaller than any pointer's range.
        let into = usize::try_from(self.length % BLOCK as u64).unwrap_or(0);
        // Parts of blocks, too: a stream's pieces begin and end anywhere.
        let (first, rest) = bytes.split_at(bytes.len().min(BLOCK - into));
        let parts = || iter::once(first).chain(rest.chunks(BLOCK));
        let zeros: usize = parts()
            .take_while(|part| is_zero(part))
            .map(<[u8]>::len)
            .sum();
        let count = if zeros > 0 {
            self.ends_in_hole = true;
            zeros
        } else {
            if self.ends_in_hole {
                self.file.seek(SeekFrom::Start(self.length))?;
                self.ends_in_hole = false;
            }
            let data = parts().take_while(|part| !is_zero(part));
            let end: usize = data.map(<[u8]>::len).sum();
            self.file.write(&bytes[..end])?
        };
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Of at most a block.
fn is_zero(part: &[u8]) -> bool {
    ZEROS.starts_with(part)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Written in pieces of `piece` bytes: what the file has then, and how many bytes it takes.
    fn written(content: &[u8], piece: usize) -> (Vec<u8>, u64) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        let mut file = SparseFile::new(File::create_new(&path).unwrap());
        for part in content.chunks(piece) {
            file.write_all(part).unwrap();
        }
        file.sync().unwrap();
        let blocks = path.metadata().unwrap().blocks();
        (std::fs::read(&path).unwrap(), blocks * 512)
    }

    #[test]
    fn zeros_take_no_room_and_are_read_again() {
        let zeros = vec![0; 40 * BLOCK];
        let data = vec![7; 3 * BLOCK + 5];
        for parts in [
            &[&zeros[..], &data, &zeros][..],
            &[&data, &zeros, &data],
            &[&data[..9], &zeros],
            &[&data[..512], &zeros, &data[..9]],
            &[&zeros],
            &[],
        ] {
            let content = parts.concat();
            for piece in [1000, BLOCK, 2 * BLOCK + 512, 64 << 10, 1 << 20] {
                let (read, taken) = written(&content, piece);
                assert!(read == content, "{piece}");
                let most = content.iter().filter(|byte| **byte != 0).count() + 6 * BLOCK;
                assert!(taken <= most as u64, "{piece}: {taken}");
            }
        }
    }
}
