//! Taking in the files of an archive, in whatever order they come.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use container_resource::digest::Digest;

use super::load::LoadError;
use crate::store::Ingest;
use crate::tar::{Kind, Member, Reader, TarError};

/// Most rejected paths that are listed.
const MAX_REJECTED: usize = 100;
/// Most files of an archive.
const MAX_FILES: usize = 100_000;
const BUFFER: usize = 128 * 1024;

/// What an archive holds, by path.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Regular files, all of them taken in as blobs.
    pub files: BTreeMap<String, (Digest, u64)>,
    /// Links, by their targets resolved against the link's own directory.
    pub links: BTreeMap<String, String>,
    /// Members whose path would lead out of the archive.
    pub rejected: Vec<String>,
}

impl Content {
    /// Reads an archive to its end, for which `budget` bytes are left on the disk. `progress` is told the bytes read so far
    /// and says whether to go on.
    pub(super) fn read(
        input: impl Read,
        ingest: &mut Ingest<'_>,
        budget: u64,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Self, LoadError> {
        let counting = Counting {
            input,
            bytes: 0,
            told: 0,
            progress,
        };
        let mut buffered = BufReader::with_capacity(BUFFER, counting);
        let stream = decompress(&mut buffered).map_err(LoadError::Read)?;
        let mut reader = Reader::new(Budgeted {
            stream,
            left: budget,
        });
        let mut content = Self::default();
        while let Some(member) = reader.next_member().map_err(cut_off)? {
            content.member(&mut reader, &member, ingest)?;
            if content.files.len() + content.links.len() > MAX_FILES {
                return Err(LoadError::TooMany(MAX_FILES));
            }
        }
        // A client that writes into a pipe shall not be hit by SIGPIPE.
        let mut rest = reader.into_inner().stream.take(budget);
        io::copy(&mut rest, &mut io::sink()).map_err(LoadError::Read)?;
        Ok(content)
    }

    /// The file at `path`, through at most one link, as old `docker save` archives need.
    pub(super) fn resolve(&self, path: &str) -> Option<(Digest, u64)> {
        let path = self.links.get(path).map_or(path, String::as_str);
        self.files.get(path).copied()
    }

    fn member<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        member: &Member,
        ingest: &mut Ingest<'_>,
    ) -> Result<(), LoadError> {
        let Some(path) = safe_path(&member.path) else {
            if self.rejected.len() < MAX_REJECTED {
                self.rejected
                    .push(String::from_utf8_lossy(&member.path).into_owned());
            }
            return Ok(());
        };
        match member.kind {
            Kind::Directory => Ok(()),
            Kind::File if member.sparse.is_some() => Err(LoadError::Member(path)),
            Kind::File => {
                let expected = blob_digest(&path)?;
                let mut writer = ingest.writer()?;
                io::copy(reader, &mut writer).map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => LoadError::Truncated,
                    io::ErrorKind::StorageFull => LoadError::NoSpace,
                    _ => LoadError::Copy {
                        path: path.clone(),
                        source: error,
                    },
                })?;
                let taken = ingest
                    .take(&writer, expected)
                    .map_err(|source| LoadError::Blob {
                        path: path.clone(),
                        source,
                    })?;
                // Some writers repeat a blob that two images share.
                match self.files.insert(path.clone(), taken) {
                    Some(other) if other != taken => Err(LoadError::Twice(path)),
                    _ => Ok(()),
                }
            }
            Kind::Symlink | Kind::HardLink if is_layout_file(&path) => Err(LoadError::Member(path)),
            Kind::Symlink | Kind::HardLink => {
                if let Some(target) = link_target(&path, member) {
                    self.links.insert(path, target);
                }
                Ok(())
            }
            Kind::Character | Kind::Block | Kind::Fifo => Err(LoadError::Member(path)),
        }
    }
}

/// Files of an OCI image layout, which are never links.
fn is_layout_file(path: &str) -> bool {
    path == "index.json" || path == "oci-layout" || path == "blobs" || path.starts_with("blobs/")
}

/// The digest that a blob's path announces.
fn blob_digest(path: &str) -> Result<Option<Digest>, LoadError> {
    match path.strip_prefix("blobs/sha256/") {
        Some(hex) => Digest::from_hex(hex)
            .map(Some)
            .map_err(|_| LoadError::Member(path.to_owned())),
        None => Ok(None),
    }
}

/// A member's path without `.` parts; `None` when it is absolute, leads upwards, or is no UTF-8.
fn safe_path(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return None;
    }
    Some(join(path.split('/')))
}

fn join<'p>(parts: impl Iterator<Item = &'p str>) -> String {
    let parts: Vec<&str> = parts.filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/")
}

/// Where a link leads within the archive.
fn link_target(path: &str, member: &Member) -> Option<String> {
    let target = std::str::from_utf8(&member.link).ok()?;
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    if member.kind == Kind::Symlink {
        parts.extend(path.split('/'));
        parts.pop();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn cut_off(error: TarError) -> LoadError {
    match error {
        TarError::Truncated => LoadError::Truncated,
        TarError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => LoadError::Truncated,
        TarError::Io(error) if error.kind() == io::ErrorKind::StorageFull => LoadError::NoSpace,
        TarError::Io(error) => LoadError::Read(error),
        other => LoadError::Tar(other),
    }
}

/// Archives may come compressed as a whole.
fn decompress<'r, R: Read>(input: &'r mut BufReader<R>) -> io::Result<Box<dyn Read + 'r>> {
    let mut magic = Vec::new();
    input.by_ref().take(4).read_to_end(&mut magic)?;
    let is_gzip = magic.starts_with(&[0x1f, 0x8b]);
    let is_zstd = magic == [0x28, 0xb5, 0x2f, 0xfd];
    let whole = io::Cursor::new(magic).chain(input);
    Ok(if is_gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(whole))
    } else if is_zstd {
        Box::new(zstd::Decoder::with_buffer(whole)?)
    } else {
        Box::new(whole)
    })
}

/// A stream of which more than there is room for is an error, not its end.
struct Budgeted<R> {
    stream: R,
    left: u64,
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

struct Counting<'p, R> {
    input: R,
    bytes: u64,
    told: u64,
    progress: &'p mut dyn FnMut(u64) -> bool,
}

/// Bytes between two reports.
const STEP: u64 = 1 << 20;

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.bytes += count as u64;
        if count == 0 || self.bytes - self.told >= STEP {
            self.told = self.bytes;
            if !(self.progress)(self.bytes) {
                return Err(io::Error::other("the client has gone away"));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_fault_of_the_archive() {
        for (left, expected) in [(0, None), (5, None), (6, Some(6)), (7, Some(6))] {
            let mut read = Vec::new();
            let mut stream = Budgeted {
                stream: &b"abcdef"[..],
                left,
            };
            let result = stream.read_to_end(&mut read);
            assert_eq!(result.as_ref().ok(), expected.as_ref(), "{left}");
            if let Err(error) = result {
                let error = cut_off(TarError::Io(error));
                assert!(matches!(error, LoadError::NoSpace), "{error:?}");
            }
        }
    }

    #[test]
    fn paths_that_lead_out_are_not_safe() {
        for (path, safe) in [
            ("./blobs//sha256/x", Some("blobs/sha256/x")),
            ("index.json", Some("index.json")),
            ("/index.json", None),
            ("../x", None),
            ("a/../../x", None),
            ("a/..b", Some("a/..b")),
        ] {
            assert_eq!(safe_path(path.as_bytes()).as_deref(), safe, "{path}");
        }
        assert_eq!(safe_path(b"\xff"), None);
    }
}
