//! One file out of a tar archive, whatever links lead to it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, Write};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use tar::{Archive, EntryType};

/// The largest file that is taken, in bytes; kernels have some 60 MiB.
const FILE_LIMIT: u64 = 1 << 30;
/// Bytes that an archive may unpack to.
const ARCHIVE_LIMIT: u64 = 64 << 30;
/// Links that may lead to one another, as in the kernel (`path_resolution(7)`).
const LINKS: usize = 40;
/// Members of an archive at most.
const MEMBERS: usize = 1 << 20;

/// Why a member cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive is damaged, or no tar archive.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// There is no such member.
    #[error("the archive has no member {0}")]
    Missing(String),
    /// It is a directory or a device, or a link leads to one or out of the archive.
    #[error("member {0} is no file, and no link to one")]
    NoFile(String),
    /// More members or bytes than are read.
    #[error("the archive or its member is too large")]
    TooLarge,
    /// Where it goes to.
    #[error("cannot write the file")]
    Write(#[source] io::Error),
}

/// Copies the file `member` of the archive to `target`; gives the name that it has in the archive, behind all links.
pub fn extract(
    archive: &mut File,
    member: &str,
    target: &mut impl Write,
) -> Result<PathBuf, ArchiveError> {
    let wanted = plain(Path::new(member));
    let wanted = wanted.ok_or_else(|| ArchiveError::Missing(member.to_owned()))?;
    let names = index(archive)?;
    let found = resolve(&names, &wanted, member)?;
    let mut tar = open(archive)?;
    for entry in tar.entries().map_err(ArchiveError::Read)? {
        let mut entry = entry.map_err(ArchiveError::Read)?;
        let path = entry.path().map_err(ArchiveError::Read)?;
        if plain(&path).as_ref() != Some(&found) {
            continue;
        }
        if entry.size() > FILE_LIMIT {
            return Err(ArchiveError::TooLarge);
        }
        io::copy(&mut entry, target).map_err(ArchiveError::Write)?;
        return Ok(found);
    }
    Err(ArchiveError::Missing(member.to_owned()))
}

/// What a name of the archive is.
enum Named {
    File,
    /// A symbolic link, with its text; a hard link has the path from the archive's root.
    Link(PathBuf),
    Other,
}

fn index(archive: &mut File) -> Result<HashMap<PathBuf, Named>, ArchiveError> {
    let mut names = HashMap::new();
    let mut tar = open(archive)?;
    for entry in tar.entries().map_err(ArchiveError::Read)? {
        let entry = entry.map_err(ArchiveError::Read)?;
        let path = entry.path().map_err(ArchiveError::Read)?;
        let Some(path) = plain(&path) else {
            continue;
        };
        let target = entry.link_name().map_err(ArchiveError::Read)?;
        let named = match (entry.header().entry_type(), target) {
            (EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse, _) => Named::File,
            (EntryType::Symlink, Some(target)) => Named::Link(target.into_owned()),
            (EntryType::Link, Some(target)) => Named::Link(Path::new("/").join(target)),
            _ => Named::Other,
        };
        names.insert(path, named);
        if names.len() > MEMBERS {
            return Err(ArchiveError::TooLarge);
        }
    }
    Ok(names)
}

/// The file that `wanted` leads to: each part of it may be a link, relative to where it is or to the archive's root.
fn resolve(
    names: &HashMap<PathBuf, Named>,
    wanted: &Path,
    member: &str,
) -> Result<PathBuf, ArchiveError> {
    let no_file = || ArchiveError::NoFile(member.to_owned());
    let mut path = wanted.to_owned();
    for _ in 0..LINKS {
        let ancestors: Vec<&Path> = path.ancestors().collect();
        let link = ancestors
            .iter()
            .rev()
            .find_map(|part| match names.get(*part) {
                Some(Named::Link(target)) => Some((*part, target)),
                _ => None,
            });
        let Some((part, target)) = link else {
            return match names.get(&path) {
                Some(Named::File) => Ok(path),
                Some(_) => Err(no_file()),
                None => Err(ArchiveError::Missing(member.to_owned())),
            };
        };
        let rest = path.strip_prefix(part).unwrap_or(Path::new("")).to_owned();
        let above = part.parent().unwrap_or(Path::new(""));
        let mut next = above.join(target);
        if !rest.as_os_str().is_empty() {
            next.push(rest);
        }
        path = plain(&next).ok_or_else(no_file)?;
    }
    Err(no_file())
}

/// A path from the archive's root, without `.` and `..`; none that leads out of it.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => plain.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

/// The archive from its beginning, decompressed as its first bytes tell.
fn open(archive: &mut File) -> Result<Archive<Box<dyn Read + '_>>, ArchiveError> {
    archive.rewind().map_err(ArchiveError::Read)?;
    let mut reader = BufReader::new(archive);
    let head = reader.fill_buf().map_err(ArchiveError::Read)?;
    let decoded: Box<dyn Read + '_> = if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(reader))
    } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        Box::new(XzReader::new(reader, true))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || head.get(1..4) == Some(&[0x2a, 0x4d, 0x18])
    {
        Box::new(zstd::Decoder::with_buffer(reader).map_err(ArchiveError::Read)?)
    } else {
        Box::new(reader)
    };
    Ok(Archive::new(Box::new(decoded.take(ARCHIVE_LIMIT))))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// An archive that GNU tar made, compressed by `flag`.
    fn archive(flag: &str) -> File {
        let scratch = tempfile::tempdir().unwrap();
        let script = "mkdir -p opt/share/kernels other && echo kernel >opt/share/kernels/vmlinux-6.1 && cd opt/share/kernels && \
            ln -s vmlinux-6.1 vmlinux.container && ln vmlinux-6.1 hard && ln -s /opt/share/kernels/vmlinux-6.1 absolute && \
            ln -s ../../../../../etc/passwd out && ln -s loop loop && ln -s gone dangling && \
            cd ../../../other && ln -s ../opt/share kernels";
        let made = Command::new("sh")
            .args(["-c", script])
            .current_dir(scratch.path())
            .status();
        assert!(made.unwrap().success());
        let path = scratch.path().join("a.tar");
        let packed = Command::new("tar")
            .args([flag, "-cf"])
            .arg(&path)
            .args(["./opt", "other"])
            .current_dir(scratch.path())
            .status();
        assert!(packed.unwrap().success());
        File::open(path).unwrap()
    }

    #[test]
    fn links_lead_to_the_file() {
        for flag in ["--numeric-owner", "--gzip", "--xz", "--zstd"] {
            let mut archive = archive(flag);
            for member in [
                "opt/share/kernels/vmlinux-6.1",
                "./opt/share/kernels/vmlinux.container",
                "/opt/share/kernels/absolute",
                "opt/share/kernels/hard",
                "other/kernels/kernels/vmlinux.container",
            ] {
                let mut bytes = Vec::new();
                let name = extract(&mut archive, member, &mut bytes).unwrap();
                assert_eq!(bytes, b"kernel\n", "{flag} {member}");
                assert!(name.starts_with("opt/share/kernels"), "{name:?}");
            }
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let mut archive = archive("--gzip");
        let mut told = |member: &str| {
            let mut bytes = Vec::new();
            extract(&mut archive, member, &mut bytes)
                .unwrap_err()
                .to_string()
        };
        for (member, expected) in [
            ("absent", "has no member absent"),
            ("opt/share/kernels", "is no file"),
            ("opt/share/kernels/out", "is no file"),
            ("opt/share/kernels/loop", "is no file"),
            ("opt/share/kernels/dangling", "has no member"),
            ("../etc/passwd", "has no member"),
        ] {
            let text = told(member);
            assert!(text.contains(expected), "{member}: {text}");
        }
        let mut text = tempfile::tempfile().unwrap();
        text.write_all(&[b'x'; 2000]).unwrap();
        let error = extract(&mut text, "x", &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ArchiveError::Read(_)), "{error}");
    }
}
