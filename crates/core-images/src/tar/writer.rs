//! Writing archives: ustar headers, with pax records for what they can't hold.

use std::io::{self, Write};

use super::BLOCK;

/// Writes regular files and directories, reproducibly: root's, from the epoch.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// Bytes that the current file still lacks.
    left: u64,
    padding: usize,
}

/// The largest size that 11 octal digits hold.
const MAX_OCTAL_SIZE: u64 = (1 << 33) - 1;

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self {
            out,
            left: 0,
            padding: 0,
        }
    }

    /// Adds a directory; `path` is ASCII, below 100 bytes and ends with `/`.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.end_file()?;
        self.out.write_all(&header(path, b'5', 0o755, 0)?)
    }

    /// Adds a small file.
    pub fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.start_file(path, content.len() as u64)?;
        self.write_all(content)
    }

    /// Starts a file of exactly `size` bytes, which are then written to this.
    pub fn start_file(&mut self, path: &str, size: u64) -> io::Result<()> {
        self.end_file()?;
        if size > MAX_OCTAL_SIZE {
            let record = pax_record("size", &size.to_string());
            self.out.write_all(&header(
                "PaxHeaders/size",
                b'x',
                0o644,
                record.len() as u64,
            )?)?;
            self.out.write_all(&record)?;
            self.pad(padding_of(record.len() as u64))?;
        }
        self.out.write_all(&header(path, b'0', 0o644, size)?)?;
        self.left = size;
        self.padding = padding_of(size);
        Ok(())
    }

    /// Ends the archive with 1 KiB of zeros.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_file()?;
        self.pad(2 * BLOCK)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn end_file(&mut self) -> io::Result<()> {
        if self.left != 0 {
            return Err(io::Error::other(
                "a file of the archive is shorter than announced",
            ));
        }
        let padding = std::mem::take(&mut self.padding);
        self.pad(padding)
    }

    fn pad(&mut self, len: usize) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK][..len])
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        if want == 0 && !bytes.is_empty() {
            return Err(io::Error::other(
                "a file of the archive is longer than announced",
            ));
        }
        let count = self.out.write(&bytes[..want])?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn padding_of(size: u64) -> usize {
    let used = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - used) % BLOCK
}

fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length += 1;
    }
    format!("{length} {key}={value}\n").into_bytes()
}

fn header(path: &str, kind: u8, mode: u32, size: u64) -> io::Result<[u8; BLOCK]> {
    if path.is_empty() || path.len() > 100 || !path.is_ascii() {
        return Err(io::Error::other("a member's name does not fit its header"));
    }
    let mut raw = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| raw[at..at + text.len()].copy_from_slice(text);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000\x000000000\0");
    put(
        124,
        format!("{:011o}", if size > MAX_OCTAL_SIZE { 0 } else { size }).as_bytes(),
    );
    put(136, b"00000000000\0        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\0");
    let sum: u32 = raw.iter().map(|byte| u32::from(*byte)).sum();
    raw[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::tar::{Kind, Reader};

    #[test]
    fn what_was_written_is_read() {
        let mut writer = Writer::new(Vec::new());
        writer.directory("blobs/").unwrap();
        writer.file("blobs/a", b"content").unwrap();
        let archive = writer.finish().unwrap();
        assert_eq!(archive.len() % BLOCK, 0);
        let mut reader = Reader::new(archive.as_slice());
        assert_eq!(reader.next_member().unwrap().unwrap().kind, Kind::Directory);
        let member = reader.next_member().unwrap().unwrap();
        assert_eq!(
            (member.path.as_slice(), member.size),
            (b"blobs/a".as_slice(), 7)
        );
        let mut content = String::new();
        reader.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
        assert!(reader.next_member().unwrap().is_none());
    }

    #[test]
    fn a_file_beyond_8_gib_has_its_size_in_a_record() {
        let mut writer = Writer::new(Vec::new());
        writer.start_file("big", 1 << 40).unwrap();
        let mut reader = Reader::new(writer.out.as_slice());
        assert_eq!(reader.next_member().unwrap().unwrap().size, 1 << 40);
    }

    #[test]
    fn announced_sizes_are_kept() {
        let mut writer = Writer::new(Vec::new());
        writer.start_file("short", 5).unwrap();
        assert!(writer.directory("next/").is_err());
        assert!(writer.write_all(b"too long").is_err());
    }
}
