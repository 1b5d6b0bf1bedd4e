//! Datagrams on a stream: with whom, as a number of four bytes, the length, of two, and the bytes. Numbers are in the network's order.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes before a datagram's own.
const HEADER: usize = 6;
/// How much is read at once.
const CHUNK: usize = 16 << 10;

/// Reads datagrams of a stream.
#[derive(Debug)]
pub struct Frames<R> {
    reader: R,
    bytes: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Those that `reader` will have.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            bytes: BytesMut::new(),
        }
    }

    /// With whom the next one is, and what it says; nothing at the end. When this is cancelled, none is lost.
    ///
    /// # Errors
    /// As `read(2)`, and when the stream ends in the middle of one.
    pub async fn next(&mut self) -> io::Result<Option<(u32, Bytes)>> {
        loop {
            if let Some(datagram) = self.whole() {
                return Ok(Some(datagram));
            }
            self.bytes.reserve(CHUNK);
            if self.reader.read_buf(&mut self.bytes).await? == 0 {
                return if self.bytes.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    fn whole(&mut self) -> Option<(u32, Bytes)> {
        let [a, b, c, d, high, low] = *self.bytes.first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if self.bytes.len() < HEADER + length {
            return None;
        }
        self.bytes.advance(HEADER);
        let datagram = self.bytes.split_to(length).freeze();
        Some((u32::from_be_bytes([a, b, c, d]), datagram))
    }
}

/// Writes `datagram`, which is with the one of the number `with`.
///
/// # Errors
/// As `write(2)`.
pub async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    with: u32,
    datagram: &[u8],
) -> io::Result<()> {
    // No datagram is longer.
    let length = u16::try_from(datagram.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut frame = Vec::with_capacity(HEADER + datagram.len());
    frame.extend(with.to_be_bytes());
    frame.extend(length.to_be_bytes());
    frame.extend(datagram);
    writer.write_all(&frame).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_are_read_as_they_were_written() {
        let long = vec![7; super::super::MAX_DATAGRAM];
        let sent = [(1, &b""[..]), (u32::MAX, b"x"), (3, &long), (1, b"last")];
        let mut bytes = Vec::new();
        for (with, datagram) in sent {
            write(&mut bytes, with, datagram).await.unwrap();
        }
        let mut frames = Frames::new(&bytes[..]);
        for (with, datagram) in sent {
            let read = frames.next().await.unwrap().unwrap();
            assert_eq!((read.0, &read.1[..]), (with, datagram));
        }
        assert_eq!(frames.next().await.unwrap(), None);
        let mut cut = Frames::new(&bytes[..bytes.len() - 1]);
        for _ in 0..3 {
            cut.next().await.unwrap().unwrap();
        }
        let error = cut.next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_loses_nothing() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut frames = Frames::new(reader);
        writer.write_all(&[0, 0, 0, 9, 0]).await.unwrap();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(1), frames.next());
        waited.await.unwrap_err();
        writer.write_all(&[2, b'a', b'b']).await.unwrap();
        let read = frames.next().await.unwrap().unwrap();
        assert_eq!((read.0, &read.1[..]), (9, &b"ab"[..]));
    }
}
