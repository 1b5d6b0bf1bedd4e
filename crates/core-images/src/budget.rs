//! Streams with a largest number of bytes.

use std::io::{self, Read};

/// A stream of which more than there is room for is an error ([`io::ErrorKind::StorageFull`]), not its end.
#[derive(Debug)]
pub(crate) struct Budgeted<R> {
    stream: R,
    left: u64,
}

impl<R> Budgeted<R> {
    /// At most `bytes` of `stream`.
    pub(crate) fn new(stream: R, bytes: u64) -> Self {
        Self {
            stream,
            left: bytes,
        }
    }

    /// The stream behind the last byte read.
    pub(crate) fn into_inner(self) -> R {
        self.stream
    }
}

impl<R: Read> Read for Budgeted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !buffer.is_empty() {
            return match self.stream.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::ErrorKind::StorageFull.into()),
            };
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        let room = room.min(buffer.len());
        let count = self.stream.read(&mut buffer[..room])?;
        // No more than `left`.
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_room_for_is_an_error() {
        for (left, expected) in [(0, None), (5, None), (6, Some(6)), (7, Some(6))] {
            let mut read = Vec::new();
            let result = Budgeted::new(&b"abcdef"[..], left).read_to_end(&mut read);
            assert_eq!(result.as_ref().ok(), expected.as_ref(), "{left}");
            if let Err(error) = result {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            }
        }
    }
}
