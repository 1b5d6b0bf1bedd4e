//! The digest of a file as fs-verity computes it (Linux, `Documentation/filesystems/fsverity.rst`, "Merkle tree" and
//! "fs-verity descriptor"; SHA-256, blocks of 4 KiB, no salt), so that a file has one digest whether the kernel
//! checks it or this process does.

use std::io::{self, Read};
use std::sync::OnceLock;

use container_resource::digest::Digest;
use sha2::{Digest as _, Sha256};

/// Bytes of a block, of data and of hashes.
const BLOCK: usize = 4096;
const HASH: usize = 32;
/// Bytes that are read at a time.
const BUFFER: usize = 64 * BLOCK;
/// Bytes of `struct fsverity_descriptor`.
const DESCRIPTOR: usize = 256;

/// Reads `file` to its end.
pub fn digest(mut file: impl Read) -> io::Result<Digest> {
    let mut tree = Tree::default();
    let mut size = 0;
    let mut buffer = vec![0; BUFFER];
    loop {
        let filled = fill(&mut file, &mut buffer)?;
        size += filled as u64;
        // The last block is padded.
        let padded = filled.next_multiple_of(BLOCK);
        buffer[filled..padded].fill(0);
        for block in buffer[..padded].chunks(BLOCK) {
            tree.push(0, hash_data(block));
        }
        if filled < BUFFER {
            return Ok(descriptor(size, tree.root()));
        }
    }
}

fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Most blocks of a sparse file are zeros: they are compared rather than hashed.
fn hash_data(block: &[u8]) -> [u8; HASH] {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    static HASH_OF_ZEROS: OnceLock<[u8; HASH]> = OnceLock::new();
    if block == ZEROS {
        return *HASH_OF_ZEROS.get_or_init(|| Sha256::digest(ZEROS).into());
    }
    Sha256::digest(block).into()
}

/// Hashes of hashes, as far as they are not hashed in turn.
#[derive(Default)]
struct Tree {
    levels: Vec<Level>,
}

struct Level {
    block: [u8; BLOCK],
    filled: usize,
    /// Hashes that ever came to this level.
    count: u64,
}

impl Tree {
    fn push(&mut self, mut level: usize, mut hash: [u8; HASH]) {
        loop {
            if level == self.levels.len() {
                self.levels.push(Level {
                    block: [0; BLOCK],
                    filled: 0,
                    count: 0,
                });
            }
            let at = &mut self.levels[level];
            at.block[at.filled..at.filled + HASH].copy_from_slice(&hash);
            at.filled += HASH;
            at.count += 1;
            if at.filled < BLOCK {
                return;
            }
            hash = at.take();
            level += 1;
        }
    }

    /// The one hash that nothing stands above; zeros for an empty file.
    fn root(mut self) -> [u8; HASH] {
        let mut level = 0;
        while let Some(at) = self.levels.get_mut(level) {
            if at.count == 1 {
                let mut root = [0; HASH];
                root.copy_from_slice(&at.block[..HASH]);
                return root;
            }
            if at.filled > 0 {
                let hash = at.take();
                self.push(level + 1, hash);
            }
            level += 1;
        }
        [0; HASH]
    }
}

impl Level {
    /// The hash of the block, padded with zeros; it is empty then.
    fn take(&mut self) -> [u8; HASH] {
        let hash = Sha256::digest(self.block).into();
        self.block.fill(0);
        self.filled = 0;
        hash
    }
}

fn descriptor(size: u64, root: [u8; HASH]) -> Digest {
    let mut bytes = [0; DESCRIPTOR];
    // Version 1, SHA-256, blocks of 2^12 bytes, no salt.
    bytes[..4].copy_from_slice(&[1, 1, 12, 0]);
    bytes[8..16].copy_from_slice(&size.to_le_bytes());
    bytes[16..16 + HASH].copy_from_slice(&root);
    Digest::new(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `fsverity digest` of fsverity-utils says: see `tests/seal.rs` for the comparison itself.
    #[test]
    fn an_empty_file_has_the_known_digest() {
        let empty = digest(io::empty()).unwrap().hex();
        assert_eq!(
            empty,
            "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"
        );
    }

    #[test]
    fn every_byte_and_the_length_count() {
        let bytes = vec![7; 3 * BLOCK + 5];
        let whole = digest(bytes.as_slice()).unwrap();
        for position in [0, BLOCK - 1, BLOCK, 3 * BLOCK + 4] {
            let mut other = bytes.clone();
            other[position] ^= 1;
            assert_ne!(digest(other.as_slice()).unwrap(), whole, "{position}");
        }
        assert_ne!(digest(&bytes[..bytes.len() - 1]).unwrap(), whole);
        let padded = [bytes, vec![0; 9]].concat();
        assert_ne!(digest(padded.as_slice()).unwrap(), whole);
    }

    #[test]
    fn pieces_of_any_size_make_the_same() {
        struct Drops<'b>(&'b [u8]);
        impl Read for Drops<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = self.0.len().min(buffer.len()).min(777);
                buffer[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let bytes: Vec<u8> = (0..BUFFER + 3 * BLOCK)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect();
        assert_eq!(
            digest(Drops(&bytes)).unwrap(),
            digest(bytes.as_slice()).unwrap()
        );
    }
}
