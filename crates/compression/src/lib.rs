//! Compressed streams: told by their first bytes, and decoded with bounded memory.
//!
//! By the first bytes rather than by a media type or a file's name, which are often wrong.

use std::io::{self, BufRead, Read};

/// Bytes that tell a compression.
pub const HEAD: usize = 10;
/// Most memory of an xz decoder, in KiB: four times what `xz -9` needs, and far below the worker's bound.
const XZ_MEMORY: u32 = 256 << 10;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all, as far as its beginning tells.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878; it may start with a skippable frame, as `pzstd` writes.
    Zstd,
    /// The .xz file format, version 1.2.
    Xz,
    /// bzip2.
    Bzip2,
    /// One that is known by name only.
    Unsupported(&'static str),
}

/// Beginnings of what is not decoded.
const UNSUPPORTED: [(&[u8], &str); 6] = [
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
    (b"LZIP", "lzip"),
    (&[0x5d, 0, 0, 0x80, 0], "lzma"),
    (&[0x1f, 0x9d], "compress"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
];

impl Compression {
    /// Of a stream that starts with `head`: [`HEAD`] bytes, or all there are.
    pub fn of(head: &[u8]) -> Self {
        let at = |index: usize| head.get(index).copied().unwrap_or(0);
        let is_skippable = at(0) & 0xf0 == 0x50 && head.get(1..4) == Some(&[0x2a, 0x4d, 0x18]);
        // Three letters and a digit are a file's name too; the block's mark behind them is not.
        let is_bzip2 = head.starts_with(b"BZh")
            && at(3).is_ascii_digit()
            && matches!(
                head.get(4..HEAD),
                Some([0x31, 0x41, 0x59, 0x26, 0x53, 0x59] | [0x17, 0x72, 0x45, 0x38, 0x50, 0x90])
            );
        if head.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if is_skippable || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Self::Xz
        } else if is_bzip2 {
            Self::Bzip2
        } else {
            UNSUPPORTED
                .iter()
                .find(|(magic, _)| head.starts_with(magic))
                .map_or(Self::None, |(_, name)| Self::Unsupported(name))
        }
    }

    /// Whether every tool that reads images reads layers of this kind.
    pub fn is_common(self) -> bool {
        matches!(self, Self::None | Self::Gzip | Self::Zstd)
    }
}

/// Reads the first bytes of a stream: [`HEAD`] of them, or all there are.
///
/// # Errors
/// When the stream fails.
pub fn head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    // A pipe may give fewer bytes than asked for at first.
    stream.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// A stream's bytes as they were before they were compressed.
///
/// # Errors
/// When the stream fails, or is compressed in a way that is not supported.
pub fn decoder<'r>(mut stream: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let head = head(&mut stream)?;
    let compression = Compression::of(&head);
    let whole = io::Cursor::new(head).chain(stream);
    Ok(match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(Sound(Some(flate2::bufread::MultiGzDecoder::new(whole)))),
        Compression::Zstd => Box::new(Sound(Some(zstd::Decoder::with_buffer(whole)?))),
        Compression::Xz => Box::new(Sound(Some(lzma_rust2::XzReader::new_mem_limit(
            whole, true, XZ_MEMORY,
        )))),
        Compression::Bzip2 => Box::new(Sound(Some(bzip2::bufread::MultiBzDecoder::new(whole)))),
        Compression::Unsupported(name) => {
            let text = format!("it is compressed with {name}, which is not supported");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    })
}

/// A decoder that is not asked again once it has failed: what it does then is its own affair, and may be a panic.
struct Sound<D>(Option<D>);

impl<D: Read> Read for Sound<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.0 else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the compressed data is damaged",
            ));
        };
        let read = decoder.read(buffer);
        match &read {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => self.0 = None,
            _ => {}
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        for (head, compression) in [
            (
                b"\x1f\x8b\x08\0\0\0\0\0\0\x03".as_slice(),
                Compression::Gzip,
            ),
            (b"\x28\xb5\x2f\xfd\x04\0\0\0\0\0", Compression::Zstd),
            (b"\x50\x2a\x4d\x18\x04\0\0\0ab", Compression::Zstd),
            (b"\x5f\x2a\x4d\x18\x04\0\0\0ab", Compression::Zstd),
            (b"\xfd7zXZ\0\0\x04\xe6\xd6", Compression::Xz),
            (b"BZh91AY&SY", Compression::Bzip2),
            (b"BZh9\x17\x72\x45\x38\x50\x90", Compression::Bzip2),
            (b"BZh9/file\0", Compression::None),
            (b"\x04\x22\x4d\x18\0\0", Compression::Unsupported("lz4")),
            (b"etc/passwd", Compression::None),
            (b"", Compression::None),
            (b"\x1f", Compression::None),
        ] {
            assert_eq!(Compression::of(head), compression, "{head:?}");
        }
    }

    #[test]
    fn a_decoder_of_a_whole_stream_reads_all_of_its_parts() {
        let gzip = |text: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            io::Write::write_all(&mut encoder, text).unwrap();
            encoder.finish().unwrap()
        };
        let two = [gzip(b"one"), gzip(b"two")].concat();
        let mut text = String::new();
        decoder(two.as_slice())
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "onetwo");
        let error = decoder(b"LZIP\x01".as_slice()).err().unwrap();
        assert!(error.to_string().contains("lzip"), "{error}");
    }

    /// `xz -9e` of four times the word.
    const XZ: [u8; 76] = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21,
        0x01, 0x1c, 0x00, 0x00, 0x00, 0x10, 0xcf, 0x58, 0xcc, 0xe0, 0x00, 0x17, 0x00, 0x0c, 0x5d,
        0x00, 0x34, 0x19, 0x49, 0xee, 0x8d, 0xe9, 0x56, 0x0a, 0xc1, 0x21, 0xb0, 0x00, 0x00, 0x6c,
        0x14, 0xed, 0x1b, 0x3b, 0x68, 0xbb, 0x91, 0x00, 0x01, 0x28, 0x18, 0xd7, 0x83, 0xb7, 0x6e,
        0x1f, 0xb6, 0xf3, 0x7d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a, 0, 0, 0, 0,
    ];

    /// Each bit wrong, and each length: an error or another text, and never a panic, asked again neither.
    #[test]
    fn a_damaged_stream_is_an_error() {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        io::Write::write_all(&mut encoder, b"hello hello\n").unwrap();
        for whole in [XZ.to_vec(), encoder.finish().unwrap()] {
            let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
            let flipped = (0..whole.len() * 8).map(|bit| {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            });
            for bytes in cut.chain(flipped) {
                let Ok(stream) = decoder(bytes.as_slice()) else {
                    continue;
                };
                let mut stream = stream.take(1 << 20);
                for _ in 0..3 {
                    let _ = io::copy(&mut stream, &mut io::sink());
                }
            }
            let mut text = String::new();
            let read = decoder(whole.as_slice()).unwrap().read_to_string(&mut text);
            assert!(read.is_ok() && text.starts_with("hello hello"), "{read:?}");
        }
    }
}
