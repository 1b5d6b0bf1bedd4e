//! One file out of a tar archive, whatever links lead to it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use container_archive::tar::{Kind, Member, Reader, Run, TarError};
use container_compression::decoder;

/// The largest file that is taken, in bytes; kernels have some 60 MiB.
const FILE_LIMIT: u64 = 1 << 30;
/// Bytes that an archive may unpack to.
const ARCHIVE_LIMIT: u64 = 64 << 30;
/// Links that may lead to one another, as in the kernel (`path_resolution(7)`).
const LINKS: usize = 40;
/// Members of an archive at most.
const MEMBERS: usize = 1 << 20;
/// Bytes that all names and link texts of an archive have at most.
const NAMES_LIMIT: usize = 64 << 20;

/// Why a member cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The system does not give what the file holds.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// What the file holds is not read.
    #[error("the archive is damaged, or is no tar archive")]
    Damaged(#[source] TarError),
    /// There is no such member.
    #[error("the archive has no member {0}")]
    Missing(String),
    /// It is a directory or a device, or a link leads to one or out of the archive.
    #[error("member {0} is no file, and no link to one")]
    NoFile(String),
    /// More members or bytes than are read, or more memory to decompress than there is for it.
    #[error("the archive or its member is too large")]
    TooLarge,
    /// Where it goes to.
    #[error("cannot write the file")]
    Write(#[source] io::Error),
}

impl From<TarError> for ArchiveError {
    fn from(error: TarError) -> Self {
        match error {
            // A dictionary beyond what xz gets here.
            TarError::Io(error) if error.kind() == io::ErrorKind::OutOfMemory => Self::TooLarge,
            // Decompressors have errors of their own, without a number.
            TarError::Io(error) if error.raw_os_error().is_some() => Self::Read(error),
            error => Self::Damaged(error),
        }
    }
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
    let (found, number) = resolve(&names, &wanted, member)?;
    let mut tar = open(archive)?;
    for _ in 0..number {
        tar.next_member()?;
    }
    let entry = tar.next_member()?;
    let entry = entry.ok_or_else(|| ArchiveError::Missing(member.to_owned()))?;
    if entry.size > FILE_LIMIT {
        return Err(ArchiveError::TooLarge);
    }
    write(&mut tar, &entry, target)?;
    Ok(found)
}

/// Writes the file `entry`, the current one of `tar`, with its holes as zeros.
fn write(tar: &mut impl Read, entry: &Member, target: &mut impl Write) -> Result<(), ArchiveError> {
    let whole = [Run {
        offset: 0,
        length: entry.size,
    }];
    let mut position = 0;
    for run in entry.sparse.as_deref().unwrap_or(&whole) {
        fill(target, run.offset - position)?;
        copy(tar, target, run.length)?;
        position = run.offset + run.length;
    }
    fill(target, entry.size - position)
}

fn fill(target: &mut impl Write, length: u64) -> Result<(), ArchiveError> {
    let written = io::copy(&mut io::repeat(0).take(length), target);
    written.map(drop).map_err(ArchiveError::Write)
}

/// Copies `length` bytes; other than by [`io::copy`], errors of the two sides are told apart.
fn copy(source: &mut impl Read, target: &mut impl Write, length: u64) -> Result<(), ArchiveError> {
    let mut source = source.take(length);
    let mut buffer = vec![0; 1 << 16];
    while source.limit() > 0 {
        let read = match source.read(&mut buffer) {
            Ok(0) => return Err(TarError::Truncated.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(TarError::Io(error).into()),
        };
        target
            .write_all(&buffer[..read])
            .map_err(ArchiveError::Write)?;
    }
    Ok(())
}

/// What a name of the archive is.
enum Named {
    /// A file, with the number of members before it.
    File(usize),
    /// A symbolic link, with its text; a hard link has the path from the archive's root.
    Link(PathBuf),
    Other,
}

/// What each name is: the last member of it counts, as for who unpacks.
fn index(archive: &mut File) -> Result<HashMap<PathBuf, Named>, ArchiveError> {
    let mut names = HashMap::new();
    let mut tar = open(archive)?;
    let (mut number, mut bytes) = (0, 0);
    while let Some(entry) = tar.next_member()? {
        bytes += entry.path.len() + entry.link.len();
        if number == MEMBERS || bytes > NAMES_LIMIT {
            return Err(ArchiveError::TooLarge);
        }
        let target = Path::new(OsStr::from_bytes(&entry.link));
        let named = match entry.kind {
            Kind::File => Named::File(number),
            Kind::Symlink => Named::Link(target.to_owned()),
            Kind::HardLink => Named::Link(Path::new("/").join(target)),
            _ => Named::Other,
        };
        number += 1;
        if let Some(path) = plain(Path::new(OsStr::from_bytes(&entry.path))) {
            names.insert(path, named);
        }
    }
    Ok(names)
}

/// The file that `wanted` leads to, with its number: each part of it may be a link, relative to where it is or to the archive's root.
fn resolve(
    names: &HashMap<PathBuf, Named>,
    wanted: &Path,
    member: &str,
) -> Result<(PathBuf, usize), ArchiveError> {
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
                Some(Named::File(number)) => Ok((path, *number)),
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
fn open(archive: &mut File) -> Result<Reader<impl Read + '_>, ArchiveError> {
    archive.rewind().map_err(ArchiveError::Read)?;
    let decoded = decoder(BufReader::new(archive)).map_err(ArchiveError::Read)?;
    Ok(Reader::new(decoded.take(ARCHIVE_LIMIT)))
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
        assert!(matches!(error, ArchiveError::Damaged(_)), "{error}");
    }

    /// An archive of GNU tar's, of what `script` makes and packs as `a.tar`.
    fn made(script: &str) -> (tempfile::TempDir, PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let made = Command::new("sh")
            .args(["-ec", script])
            .current_dir(scratch.path())
            .status();
        assert!(made.unwrap().success());
        let path = scratch.path().join("a.tar");
        (scratch, path)
    }

    #[test]
    fn the_last_member_of_a_name_is_taken_and_holes_are_zeros() {
        let (_scratch, path) = made(
            "echo one >k && tar -cf a.tar k && printf two >k && truncate -s 1M k && \
             tar --format=gnu -S -rf a.tar k && tar --format=pax -S -rf a.tar k",
        );
        let mut bytes = Vec::new();
        extract(&mut File::open(path).unwrap(), "k", &mut bytes).unwrap();
        assert_eq!(bytes.len(), 1 << 20);
        assert_eq!(&bytes[..4], b"two\0");
    }

    /// Takes nothing.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_damaged_archive_and_a_full_disk_are_told_apart() {
        let (_scratch, path) = made("yes | head -c 100000 >k && tar -cf a.tar k");
        let mut whole = File::open(&path).unwrap();
        let error = extract(&mut whole, "k", &mut Full).unwrap_err();
        assert!(matches!(error, ArchiveError::Write(_)), "{error}");
        let (_scratch, path) =
            made("yes | head -c 100000 >k && tar -cf - k | head -c 50000 >a.tar");
        let error = extract(&mut File::open(path).unwrap(), "k", &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged(_)), "{error}");
        let (_scratch, path) = made("echo k >k && tar -cf - k | xz --lzma2=dict=1GiB >a.tar");
        let error = extract(&mut File::open(path).unwrap(), "k", &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge), "{error:?}");
        let (_scratch, path) = made("echo k >k && tar -zcf - k | head -c 50 >a.tar");
        let error = extract(&mut File::open(path).unwrap(), "k", &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged(_)), "{error}");
    }

    #[test]
    fn a_long_name_is_not_read_whole() {
        // The header of GNU's long name claims a GiB, which a few KiB of gzip could hold.
        let mut header = [0; 512];
        header[..13].copy_from_slice(b"././@LongLink");
        header[124..135].copy_from_slice(b"10000000000");
        header[148..156].fill(b' ');
        header[156] = b'L';
        header[257..265].copy_from_slice(b"ustar  \0");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&header).unwrap();
        file.write_all(&[b'x'; 4096]).unwrap();
        let error = extract(&mut file, "x", &mut Vec::new()).unwrap_err();
        let ArchiveError::Damaged(TarError::TooLarge(_)) = error else {
            panic!("{error:?}")
        };
    }
}
