//! Storing the files of an archive, in any order.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};

use container_resource::digest::Digest;

use super::load::LoadError;
use crate::budget::Budgeted;
use crate::store::{Ingest, Space};
use container_archive::tar::{Kind, Member, Reader, Run, TarError};
use container_compression as compression;

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
    /// Bytes of all files, holes included.
    bytes: u64,
}

impl Content {
    /// Reads an archive to its end, for which `budget` bytes are left on the disk. `progress` is told the bytes read so far
    /// and says whether to go on.
    pub(super) fn read(
        input: impl Read,
        ingest: &mut Ingest<'_>,
        budget: Space,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Self, LoadError> {
        let counting = Counting {
            input,
            bytes: 0,
            told: 0,
            progress,
        };
        let mut buffered = BufReader::with_capacity(BUFFER, counting);
        let stream = compression::decoder(&mut buffered).map_err(LoadError::Read)?;
        let mut reader = Reader::new(Budgeted::new(stream, budget.free));
        let mut content = Self::default();
        while let Some(member) = reader.next_member().map_err(cut_off)? {
            content.member(&mut reader, &member, ingest, budget)?;
            if content.files.len() + content.links.len() > MAX_FILES {
                return Err(LoadError::TooMany(MAX_FILES));
            }
        }
        // A client that writes into a pipe shall not be hit by SIGPIPE.
        let mut rest = reader.into_inner().into_inner().take(budget.free);
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
        budget: Space,
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
            Kind::File if is_foreign(&path) => Ok(()),
            Kind::File => {
                let expected = blob_digest(&path);
                self.bytes = self.bytes.saturating_add(member.size);
                if self.bytes > budget.free {
                    return Err(LoadError::Reserve(budget));
                }
                let mut writer = ingest.writer()?;
                copy(reader, member, &mut writer).map_err(|error| match error.kind() {
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
            Kind::Character | Kind::Block | Kind::Fifo => Err(LoadError::Device(path)),
        }
    }
}

/// Files of an OCI image layout, which are never links.
fn is_layout_file(path: &str) -> bool {
    path == "index.json" || path == "oci-layout" || path == "blobs" || path.starts_with("blobs/")
}

/// The digest that a blob's path announces.
fn blob_digest(path: &str) -> Option<Digest> {
    Digest::from_hex(path.strip_prefix("blobs/sha256/")?).ok()
}

/// Whether a file is left out: among the blobs those that no digest of ours could name, such as `.DS_Store`,
/// and what macOS keeps beside files (`AppleDouble`, RFC 1740).
fn is_foreign(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_blob = path.starts_with("blobs/");
    name.starts_with("._") || (is_blob && blob_digest(path).is_none())
}

/// Copies a member's bytes, with the holes of a sparse one.
fn copy<R: Read>(
    reader: &mut Reader<R>,
    member: &Member,
    writer: &mut impl Write,
) -> io::Result<()> {
    let Some(runs) = &member.sparse else {
        return io::copy(reader, writer).map(drop);
    };
    let mut position = 0;
    let end = Run {
        offset: member.size,
        length: 0,
    };
    // Maps are checked: runs ascend within the size.
    for run in runs.iter().chain([&end]) {
        io::copy(&mut io::repeat(0).take(run.offset - position), writer)?;
        let copied = io::copy(&mut reader.by_ref().take(run.length), writer)?;
        if copied < run.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        position = run.offset + run.length;
    }
    Ok(())
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
        let error = cut_off(TarError::Io(io::ErrorKind::StorageFull.into()));
        assert!(matches!(error, LoadError::NoSpace), "{error:?}");
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

    #[test]
    fn files_that_no_digest_names_are_left_out() {
        let digest = "0".repeat(64);
        for (path, is_left_out) in [
            (format!("blobs/sha256/{digest}"), false),
            (format!("blobs/sha256/._{digest}"), true),
            ("blobs/sha256/.DS_Store".into(), true),
            ("blobs/.DS_Store".into(), true),
            (format!("blobs/sha512/{digest}"), true),
            ("._index.json".into(), true),
            ("index.json".into(), false),
            (format!("{digest}/layer.tar"), false),
        ] {
            assert_eq!(is_foreign(&path), is_left_out, "{path}");
        }
    }
}
