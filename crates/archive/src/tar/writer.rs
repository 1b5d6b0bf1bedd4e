//! Writing archives: ustar headers, with pax records for what they cannot hold.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::pax::xattr_key;
use super::reader::Member;
use super::sparse::Run;
use super::{BLOCK, Kind};

/// Writes members one after the other; the bytes of a file are written to this.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// Bytes that the current file still lacks.
    left: u64,
    padding: usize,
}

/// The largest number that 11 octal digits hold, and 7.
const MAX_OCTAL_SIZE: u64 = (1 << 33) - 1;
const MAX_OCTAL: u64 = (1 << 21) - 1;

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self {
            out,
            left: 0,
            padding: 0,
        }
    }

    /// Adds a directory of root's, from the epoch.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.member(&Member::new(path.as_bytes(), Kind::Directory, 0o755))
    }

    /// Adds a small file of root's, from the epoch.
    pub fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.start_file(path, content.len() as u64)?;
        self.write_all(content)
    }

    /// Starts a file of root's, from the epoch, of exactly `size` bytes, which are then written to this.
    pub fn start_file(&mut self, path: &str, size: u64) -> io::Result<()> {
        let member = Member {
            size,
            ..Member::new(path.as_bytes(), Kind::File, 0o644)
        };
        self.member(&member)
    }

    /// Adds a member. Of a file its bytes, or those of the runs of a sparse one, are then written to this.
    ///
    /// # Errors
    /// Those of the output, and when the file before it is shorter than it announced.
    pub fn member(&mut self, member: &Member) -> io::Result<()> {
        self.end_file()?;
        let map = match &member.sparse {
            Some(runs) if member.kind == Kind::File => Some(sparse_map(runs)),
            _ => None,
        };
        let stored = match (&map, member.kind) {
            (Some(map), _) => {
                let runs = member.sparse.iter().flatten().map(|run| run.length);
                map.len() as u64 + runs.sum::<u64>()
            }
            (None, Kind::File) => member.size,
            (None, _) => 0,
        };
        let records = records(member, stored, map.is_some());
        if !records.is_empty() {
            let extended = Member::new(b"PaxHeaders/member", Kind::File, 0o644);
            let length = records.len() as u64;
            self.out.write_all(&header(&extended, b'x', length))?;
            self.out.write_all(&records)?;
            self.pad(padding_of(length))?;
        }
        self.out
            .write_all(&header(member, flag(member.kind), stored))?;
        self.left = stored;
        self.padding = padding_of(stored);
        match map {
            Some(map) => self.write_all(&map),
            None => Ok(()),
        }
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

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Character => b'3',
        Kind::Block => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// The map of GNU's sparse format 1.0, which stands before the runs: see the reader.
fn sparse_map(runs: &[Run]) -> Vec<u8> {
    let mut text = format!("{}\n", runs.len());
    for Run { offset, length } in runs {
        // Writing to a String cannot fail.
        let _ = write!(text, "{offset}\n{length}\n");
    }
    let mut map = text.into_bytes();
    map.resize(map.len() + padding_of(map.len() as u64), 0);
    map
}

/// What the header of `member` cannot hold.
fn records(member: &Member, stored: u64, sparse: bool) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| pax_record(key, value, &mut records);
    if sparse {
        add(b"GNU.sparse.major", b"1");
        add(b"GNU.sparse.minor", b"0");
        add(b"GNU.sparse.name", &member.path);
        add(b"GNU.sparse.realsize", member.size.to_string().as_bytes());
    } else if !fits(&member.path) {
        add(b"path", &member.path);
    }
    if !fits(&member.link) {
        add(b"linkpath", &member.link);
    }
    if stored > MAX_OCTAL_SIZE {
        add(b"size", stored.to_string().as_bytes());
    }
    if u64::from(member.uid) > MAX_OCTAL {
        add(b"uid", member.uid.to_string().as_bytes());
    }
    if u64::from(member.gid) > MAX_OCTAL {
        add(b"gid", member.gid.to_string().as_bytes());
    }
    let (seconds, nanoseconds) = member.mtime;
    if nanoseconds != 0 || !u64::try_from(seconds).is_ok_and(|seconds| seconds <= MAX_OCTAL_SIZE) {
        add(b"mtime", time(seconds, nanoseconds).as_bytes());
    }
    for (name, value) in &member.xattrs {
        add(&xattr_key(name), value);
    }
    records
}

/// Seconds with a fraction; those before the epoch as a whole are negative.
fn time(seconds: i64, nanoseconds: u32) -> String {
    match (seconds, nanoseconds) {
        (seconds, 0) => seconds.to_string(),
        (0.., nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
        (seconds, nanoseconds) => {
            let (whole, fraction) = ((seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds);
            format!("-{whole}.{fraction:09}")
        }
    }
}

/// Whether `text` can stand in its field of 100 bytes, in which programs expect ASCII.
fn fits(text: &[u8]) -> bool {
    text.len() <= 100 && text.is_ascii()
}

fn pax_record(key: &[u8], value: &[u8], records: &mut Vec<u8>) {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length += 1;
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn header(member: &Member, flag: u8, size: u64) -> [u8; BLOCK] {
    let mut raw = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| raw[at..at + text.len()].copy_from_slice(text);
    // Where it does not fit, a record before this header holds it.
    put(0, &member.path[..member.path.len().min(100)]);
    put(157, &member.link[..member.link.len().min(100)]);
    let number = |value: u64, most: u64| if value > most { 0 } else { value };
    put(100, format!("{:07o}", member.permissions).as_bytes());
    for (at, id) in [(108, member.uid), (116, member.gid)] {
        put(
            at,
            format!("{:07o}", number(id.into(), MAX_OCTAL)).as_bytes(),
        );
    }
    put(
        124,
        format!("{:011o}", number(size, MAX_OCTAL_SIZE)).as_bytes(),
    );
    let seconds = u64::try_from(member.mtime.0).unwrap_or(0);
    put(
        136,
        format!("{:011o}", number(seconds, MAX_OCTAL_SIZE)).as_bytes(),
    );
    put(148, b"        ");
    put(156, &[flag]);
    put(257, b"ustar\x0000");
    let (major, minor) = member.device;
    for (at, half) in [(329, major), (337, minor)] {
        put(at, format!("{:07o}", number(half, MAX_OCTAL)).as_bytes());
    }
    let sum: u32 = raw.iter().map(|byte| u32::from(*byte)).sum();
    raw[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    raw
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;
    use crate::tar::Reader;

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

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[a-z/]{1,140}".prop_map(String::into_bytes),
            proptest::collection::vec(1..=u8::MAX, 1..200),
        ]
    }

    prop_compose! {
        fn member()(
            path in text(),
            link in text(),
            kind in 0..6_usize,
            permissions in 0..=0o7777_u16,
            uid in any::<u32>(),
            gid in any::<u32>(),
            seconds in -5_i64..1 << 40,
            nanoseconds in prop_oneof![Just(0), 0..1_000_000_000_u32],
            content in 0..2000_u64,
            attribute in "[a-z=%3D25]{1,20}",
            value in proptest::collection::vec(any::<u8>(), 0..40),
            sparse in any::<bool>(),
        ) -> Member {
            let kind = [Kind::File, Kind::HardLink, Kind::Symlink, Kind::Character, Kind::Directory, Kind::Fifo][kind];
            let (is_file, is_link) = (kind == Kind::File, matches!(kind, Kind::HardLink | Kind::Symlink));
            let runs = vec![Run { offset: 4096, length: content }];
            Member {
                path,
                kind,
                link: if is_link { link } else { Vec::new() },
                permissions,
                uid,
                gid,
                mtime: (seconds, nanoseconds),
                size: if is_file && sparse { 1 << 40 } else if is_file { content } else { 0 },
                device: if kind == Kind::Character { (1, 3) } else { (0, 0) },
                xattrs: vec![(format!("user.{attribute}").into_bytes(), value)],
                sparse: (is_file && sparse).then_some(runs),
            }
        }
    }

    proptest! {
        #[test]
        fn members_are_read_as_they_were_written(members in proptest::collection::vec(member(), 1..5)) {
            let mut writer = Writer::new(Vec::new());
            for member in &members {
                writer.member(member).unwrap();
                let stored = match &member.sparse {
                    Some(runs) => runs[0].length,
                    None => member.size,
                };
                writer.write_all(&vec![7; usize::try_from(stored).unwrap()]).unwrap();
            }
            let archive = writer.finish().unwrap();
            let mut reader = Reader::new(archive.as_slice());
            for member in &members {
                let read = reader.next_member().unwrap();
                prop_assert_eq!(read.as_ref(), Some(member));
                let mut content = Vec::new();
                reader.read_to_end(&mut content).unwrap();
                prop_assert!(content.iter().all(|byte| *byte == 7));
            }
            prop_assert!(reader.next_member().unwrap().is_none());
        }
    }
}
