//! Hashing a stream as it passes.

use std::io::{self, Read};

use container_resource::digest::Digest;
use sha2::{Digest as _, Sha256};

/// A stream whose bytes are hashed and counted as they are read or written.
#[derive(Debug)]
pub struct Hashing<T> {
    inner: T,
    hash: Sha256,
    bytes: u64,
}

impl<T> Hashing<T> {
    /// Starts with nothing hashed.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Bytes that have passed.
    pub fn count(&self) -> u64 {
        self.bytes
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// The digest of what has passed.
    pub fn digest(&self) -> Digest {
        Digest::new(self.hash.clone().finalize().into())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
