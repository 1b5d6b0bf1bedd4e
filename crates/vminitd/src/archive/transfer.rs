//! Trees out of the root and into it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Stdin, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use container_archive::operation::Kept;
use container_archive::pack::{Contents, Packer};
use container_archive::place::{self, Found, choose};
use container_archive::tar::{Kind, Member, Reader};
use container_archive::told;
use container_archive::unpack::{Links, Mapping, Owners, Rules, UnpackError, unpack};
use rustix::io::Errno;

use super::absent;
use super::error::ArchiveError;
use super::piped::piped;

/// Bytes that are read or written at a time: what the pipes hold.
const BUFFER: usize = 256 << 10;

/// `FUSE_SUPER_MAGIC` of linux/magic.h.
const FUSE: i64 = 0x6573_5546;

/// Everything that a file has.
const WHOLE: Contents = Contents {
    sparse: true,
    special: false,
    xattrs: true,
    owners: true,
};

/// Writes the tree at `path` to standard output.
pub fn read(path: &Path) -> Result<(), ArchiveError> {
    let real = source(path)?;
    let mut packer = Packer::new(output()?, WHOLE);
    // Called as it was asked for, not as what a link leads to.
    packer.requested(&real, place::name(path))?;
    finish(packer)
}

/// What `path` leads to.
fn source(path: &Path) -> Result<PathBuf, ArchiveError> {
    let real = fs::canonicalize(path).map_err(ArchiveError::at(path))?;
    if path.as_os_str().as_bytes().ends_with(b"/") && !real.is_dir() {
        return Err(ArchiveError::NoDirectory(path.to_owned()));
    }
    Ok(real)
}

/// Copies the tree at `from` to where `cp` would put it, and says where that is. `top`: see [`put`].
pub fn copy(from: &Path, to: &Path, top: bool) -> Result<(), ArchiveError> {
    let real = source(from)?;
    let name = place::name(from);
    // What is made would be read and made again, until the disk is full.
    let mut above = to.ancestors();
    let existing = above.find_map(|path| fs::canonicalize(path).ok());
    if real.is_dir() && existing.is_some_and(|path| path.starts_with(&real)) {
        return Err(ArchiveError::IntoItself(from.to_owned()));
    }
    let shown = {
        let name = name.map(ToOwned::to_owned);
        let pack = move |packer: &mut Packer<_>| packer.requested(&real, name.as_deref());
        let put =
            |reader: &mut Reader<_>| put(reader, to, place::name(from), Kept::Everything, top);
        piped(WHOLE, pack, put)?
    };
    tell(&shown)
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
pub fn write(path: &Path, name: Option<&OsStr>, kept: Kept) -> Result<(), ArchiveError> {
    let mut reader = input();
    let shown = put(&mut reader, path, name, kept, kept == Kept::Everything)?;
    reader.finish()?;
    tell(&shown)
}

/// Says where a copy is.
fn tell(path: &Path) -> Result<(), ArchiveError> {
    io::stdout()
        .write_all(path.as_os_str().as_bytes())
        .map_err(ArchiveError::Write)
}

/// Puts the tree that `reader` reads where `cp` would put it, called `name`; gives where. `top`: contents without a name tell what the
/// directory itself is to be like, too, as `cp -a from/. to` has it.
fn put<R: Read>(
    reader: &mut Reader<R>,
    path: &Path,
    name: Option<&OsStr>,
    kept: Kept,
    top: bool,
) -> Result<PathBuf, ArchiveError> {
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
    if is_written_anew(&place) {
        let lost = io::Error::other("each start of the container writes it anew");
        return Err(ArchiveError::at(path)(lost));
    }
    let mapping = Mapping::tree(&first, name.is_some(), place.name.clone())?;
    let mut parents = fs::DirBuilder::new();
    // This process has no mask of its own that would take anything away.
    let made = parents.recursive(true).mode(0o755).create(&place.directory);
    made.map_err(ArchiveError::at(&*place.directory))?;
    let rules = Rules {
        owners: match kept {
            Kept::Nothing => Owners::All(0, 0),
            Kept::Owners | Kept::Everything => Owners::Keep,
        },
        // Without its owner a set-id program would be root's; and of another container it is not this one's to trust.
        privileges: kept == Kept::Everything,
        top,
        in_place: true,
        ..Rules::default()
    };
    make(reader, Some(first), &place.directory, &mapping, rules)?;
    Ok(if found == Found::File {
        path.to_owned()
    } else {
        place.path()
    })
}

/// Whether what is put at `place` is lost with the next start, as the container does not run now: it has no `/proc` then.
fn is_written_anew(place: &place::Place) -> bool {
    const WRITTEN: [&str; 3] = ["hostname", "hosts", "resolv.conf"];
    let name = place.name.as_deref().and_then(OsStr::to_str);
    if !name.is_some_and(|name| WRITTEN.contains(&name)) {
        return false;
    }
    !absent::runs()
        && fs::canonicalize(&place.directory).is_ok_and(|real| real == Path::new("/etc"))
}

/// Makes what comes on standard input in the directory `path`, with its owners.
pub fn extract(path: &Path) -> Result<(), ArchiveError> {
    let mut reader = input();
    let rules = Rules {
        owners: Owners::Keep,
        privileges: true,
        in_place: true,
        ..Rules::default()
    };
    make(&mut reader, None, path, &Mapping::default(), rules)?;
    Ok(reader.finish()?)
}

/// Makes what comes on standard input the content of the root, which is a volume.
pub fn import() -> Result<(), ArchiveError> {
    let mut reader = input();
    let rules = Rules {
        owners: Owners::Keep,
        privileges: true,
        special: true,
        top: true,
        in_place: true,
        holes: false,
        links: Links::Refuse,
    };
    let root = directory(Path::new("/"))?;
    unpack_all(&mut reader, None, root, &Mapping::default(), rules)?;
    Ok(reader.finish()?)
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
    let made = unpack_all(reader, first, directory, mapping, rules);
    made.map_err(|error| match error {
        // What refuses there is a guard, which nobody has heard of.
        ArchiveError::Unpack(UnpackError::Make {
            path: inside,
            source,
        }) if Errno::from_io_error(&source) == Some(Errno::ROFS)
            && absent::is_absent(&path.join(&inside)) =>
        {
            ArchiveError::Absent(path.join(inside))
        }
        error => error,
    })
}

/// Makes the members in `directory`, to the end of the stream.
fn unpack_all<R: Read>(
    reader: &mut Reader<R>,
    first: Option<Member>,
    directory: OwnedFd,
    mapping: &Mapping,
    rules: Rules,
) -> Result<(), ArchiveError> {
    let place = directory.try_clone().map_err(ArchiveError::Layers)?;
    let left_out = unpack(reader, first, directory, mapping, rules)?;
    if left_out > 0 {
        eprintln!("{}", told::left_out(left_out));
    }
    reaches_disk(&place).map_err(ArchiveError::Unwritten)
}

/// Waits until what was written is on the disk: the host's may be full, which nobody is told of before. What goes through a share was told at
/// once, and its host's whole file system is not for this one to wait for.
fn reaches_disk(place: &OwnedFd) -> io::Result<()> {
    if rustix::fs::fstatfs(place)?.f_type == FUSE {
        return Ok(());
    }
    Ok(rustix::fs::syncfs(place)?)
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
            Err(Errno::NOTDIR.into())
        }
    });
    opened.map_err(ArchiveError::at(path))
}

fn input() -> Reader<BufReader<Stdin>> {
    Reader::new(BufReader::with_capacity(BUFFER, io::stdin())).whole()
}

/// Standard output, without the line buffer that std puts before it.
pub fn output() -> Result<BufWriter<File>, ArchiveError> {
    let output = io::stdout().as_fd().try_clone_to_owned();
    let output = output.map_err(ArchiveError::Write)?;
    Ok(BufWriter::with_capacity(BUFFER, File::from(output)))
}

/// Ends an archive.
pub fn finish(packer: Packer<BufWriter<File>>) -> Result<(), ArchiveError> {
    for line in packer.shortfall.lines() {
        eprintln!("{line}");
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
