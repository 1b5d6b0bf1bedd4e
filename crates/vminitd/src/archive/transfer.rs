//! Trees out of the root and into it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Stdin, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use container_archive::pack::{Contents, Packer};
use container_archive::place::{self, Found, choose};
use container_archive::tar::{Kind, Member, Reader};
use container_archive::unpack::{Links, Mapping, Owners, Rules, unpack};

use super::error::ArchiveError;

/// Bytes that are read or written at a time: what the pipes hold.
const BUFFER: usize = 256 << 10;

/// Everything that a file has.
const WHOLE: Contents = Contents {
    sparse: true,
    special: false,
    xattrs: true,
    owners: true,
};

/// Writes the tree at `path` to standard output.
pub fn read(path: &Path) -> Result<(), ArchiveError> {
    let real = fs::canonicalize(path).map_err(ArchiveError::at(path))?;
    if path.as_os_str().as_bytes().ends_with(b"/") && !real.is_dir() {
        return Err(ArchiveError::at(path)(rustix::io::Errno::NOTDIR.into()));
    }
    let mut packer = Packer::new(output()?, WHOLE);
    // Called as it was asked for, not as what a link leads to.
    packer.requested(&real, place::name(path))?;
    finish(packer)
}

/// Writes the tree below `root` to standard output; `top`: what `root` itself is like, too.
pub fn export(root: OwnedFd, top: bool) -> Result<(), ArchiveError> {
    let contents = Contents {
        special: true,
        ..WHOLE
    };
    let mut packer = Packer::new(output()?, contents);
    if top {
        packer.single(&root, c".", b".")?;
    }
    packer.children(root, b"")?;
    finish(packer)
}

/// Puts the tree that comes on standard input where `cp` would put it, called `name`, and says where.
pub fn write(path: &Path, name: Option<&OsStr>, owners: bool) -> Result<(), ArchiveError> {
    let mut reader = input();
    let first = reader.next_member()?.ok_or(ArchiveError::Empty)?;
    let found = match fs::metadata(path) {
        Ok(found) if found.is_dir() => Found::Directory,
        Ok(_) => Found::File,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Missing,
        Err(error) => return Err(ArchiveError::at(path)(error)),
    };
    let mut place = choose(name, first.kind == Kind::Directory, path, found)?;
    if found == Found::File {
        // A link stays, and what it leads to is written.
        let real = fs::canonicalize(path).map_err(ArchiveError::at(path))?;
        if let (Some(parent), Some(name)) = (real.parent(), real.file_name()) {
            (place.directory, place.name) = (parent.to_owned(), Some(name.to_owned()));
        }
    }
    let mapping = Mapping::tree(&first, name.is_some(), place.name.clone())?;
    fs::create_dir_all(&place.directory).map_err(ArchiveError::at(&*place.directory))?;
    let owners = if owners {
        Owners::Keep
    } else {
        Owners::All(0, 0)
    };
    let rules = Rules {
        owners,
        privileges: true,
        ..Rules::default()
    };
    make(&mut reader, Some(first), &place.directory, &mapping, rules)?;
    let shown = if found == Found::File {
        path.to_owned()
    } else {
        place.path()
    };
    io::stdout()
        .write_all(shown.as_os_str().as_bytes())
        .map_err(ArchiveError::Write)
}

/// Makes what comes on standard input in the directory `path`, with its owners.
pub fn extract(path: &Path) -> Result<(), ArchiveError> {
    let mut reader = input();
    let rules = Rules {
        owners: Owners::Keep,
        privileges: true,
        ..Rules::default()
    };
    make(&mut reader, None, path, &Mapping::default(), rules)
}

/// Makes what comes on standard input the content of the root, which is a volume.
pub fn import() -> Result<(), ArchiveError> {
    let mut reader = input();
    let rules = Rules {
        owners: Owners::Keep,
        privileges: true,
        special: true,
        top: true,
        links: Links::Refuse,
    };
    let root = directory(Path::new("/"))?;
    unpack_all(&mut reader, None, root, &Mapping::default(), rules)
}

/// As [`unpack_all`]; links lead where they may.
fn make<R: Read>(
    reader: &mut Reader<R>,
    first: Option<Member>,
    path: &Path,
    mapping: &Mapping,
    rules: Rules,
) -> Result<(), ArchiveError> {
    let directory = directory(path)?;
    let rules = Rules {
        links: links(&directory, mapping).map_err(ArchiveError::at(path))?,
        ..rules
    };
    unpack_all(reader, first, directory, mapping, rules)
}

/// Makes the members in `directory`, to the end of the stream.
fn unpack_all<R: Read>(
    reader: &mut Reader<R>,
    first: Option<Member>,
    directory: OwnedFd,
    mapping: &Mapping,
    rules: Rules,
) -> Result<(), ArchiveError> {
    let left_out = unpack(reader, first, directory, mapping, rules)?;
    if left_out > 0 {
        eprintln!("{left_out} members that are devices, or lead elsewhere, were left out");
    }
    // Zeros behind the archive's end are part of it: whoever sends them is not to be cut off.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    Ok(())
}

/// What may write in the whole root may as well write through its links (`lib` to `usr/lib`). Elsewhere a link could be of an archive's
/// making, this one or an earlier one, to write where nobody has asked for it.
fn links(directory: &OwnedFd, mapping: &Mapping) -> io::Result<Links> {
    let (found, root) = (rustix::fs::fstat(directory)?, rustix::fs::stat("/")?);
    let is_root = (found.st_dev, found.st_ino) == (root.st_dev, root.st_ino);
    Ok(if is_root && mapping.put.is_none() {
        Links::Follow
    } else {
        Links::Refuse
    })
}

fn directory(path: &Path) -> Result<OwnedFd, ArchiveError> {
    let opened = File::open(path).and_then(|file| {
        if file.metadata()?.is_dir() {
            Ok(file.into())
        } else {
            Err(rustix::io::Errno::NOTDIR.into())
        }
    });
    opened.map_err(ArchiveError::at(path))
}

fn input() -> Reader<BufReader<Stdin>> {
    Reader::new(BufReader::with_capacity(BUFFER, io::stdin()))
}

/// Standard output, without the line buffer that std puts before it.
pub fn output() -> Result<BufWriter<File>, ArchiveError> {
    let output = io::stdout().as_fd().try_clone_to_owned();
    let output = output.map_err(ArchiveError::Write)?;
    Ok(BufWriter::with_capacity(BUFFER, File::from(output)))
}

/// Ends an archive.
pub fn finish(packer: Packer<BufWriter<File>>) -> Result<(), ArchiveError> {
    if packer.changed > 0 {
        eprintln!(
            "{} files became shorter while they were read",
            packer.changed
        );
    }
    packer.finish().map(drop).map_err(ArchiveError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_only_for_what_may_write_everywhere() {
        let at = |path: &str| directory(Path::new(path)).unwrap();
        let all = Mapping::default();
        let named = Mapping {
            put: Some(b"x".to_vec()),
            ..Mapping::default()
        };
        assert_eq!(links(&at("/"), &all).unwrap(), Links::Follow);
        assert_eq!(links(&at("/"), &named).unwrap(), Links::Refuse);
        assert_eq!(links(&at("/proc"), &all).unwrap(), Links::Refuse);
    }
}
