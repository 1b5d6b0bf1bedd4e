//! A root file system on the host as an image.
//!
//! Nothing in it is believed: no symbolic link is followed, no mount is entered, and a file is what it was when it was opened.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use erofs::{Device, FileData, Kind, LayerWriter, Limits, Metadata, Timestamp, Tree, Xattrs};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, flistxattr, fstat,
    major, minor, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use super::RootError;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;
/// Attributes that mean something to this program or to overlayfs, and nothing to a container.
const MARKS: [&[u8]; 2] = [b"trusted.overlay.", b"trusted.container."];

/// Writes the files below `root` to `image`, an empty file; gives its size in bytes.
///
/// # Errors
/// Where something cannot be read, or be in an image.
pub fn write(root: &Path, image: File) -> Result<u64, RootError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::openat(CWD, root, flags, Mode::empty())
        .map_err(|error| read_error(Path::new("/"), error))?;
    let mut copy = Copy {
        top,
        tree: Tree::new(Limits::default()),
        writer: LayerWriter::new(image)?,
        links: HashMap::new(),
        directories: vec![Vec::new()],
    };
    while let Some(path) = copy.directories.pop() {
        copy.directory(&path)?;
    }
    let image = copy.writer.finish(&copy.tree, [0; 16])?;
    let metadata = image.metadata();
    Ok(metadata.map_err(erofs::WriteError::from)?.len())
}

struct Copy {
    top: OwnedFd,
    tree: Tree,
    writer: LayerWriter<File>,
    /// First paths of files with several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Paths of those that are still to be read; the root's is empty.
    directories: Vec<Vec<u8>>,
}

impl Copy {
    fn directory(&mut self, path: &[u8]) -> Result<(), RootError> {
        let opened = self.open(path, OFlags::DIRECTORY)?;
        let stat = fstat(&opened).map_err(|error| read_error(&shown(path), error))?;
        let metadata = metadata(&stat, Some(opened.as_fd()), path)?;
        let place: &[u8] = if path.is_empty() { b"." } else { path };
        self.tree
            .insert_directory(place, metadata)
            .map_err(|source| tree_error(path, source))?;
        let entries = Dir::read_from(&opened).map_err(|error| read_error(&shown(path), error))?;
        for entry in entries {
            let entry = entry.map_err(|error| read_error(&shown(path), error))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name.to_bytes());
            self.entry(&opened, name, below)?;
        }
        Ok(())
    }

    fn entry(&mut self, directory: &OwnedFd, name: &CStr, path: Vec<u8>) -> Result<(), RootError> {
        let read = |error| read_error(&shown(&path), error);
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(read)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            self.directories.push(path);
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let inserted = self.tree.insert_link(&path, first);
                return inserted
                    .map(drop)
                    .map_err(|source| tree_error(&path, source));
            }
        }
        let device = || {
            let number = (major(stat.st_rdev), minor(stat.st_rdev));
            if number == (0, 0) {
                return Err(RootError::Whiteout(shown(&path)));
            }
            Device::new(number.0, number.1).ok_or_else(|| RootError::Device(shown(&path)))
        };
        let (metadata, kind) = match kind {
            FileType::RegularFile => self.file(&path)?,
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new()).map_err(read)?;
                let kind = Kind::Symlink(target.to_bytes().into());
                (metadata(&stat, None, &path)?, kind)
            }
            FileType::CharacterDevice => {
                (metadata(&stat, None, &path)?, Kind::Character(device()?))
            }
            FileType::BlockDevice => (metadata(&stat, None, &path)?, Kind::Block(device()?)),
            FileType::Fifo => (metadata(&stat, None, &path)?, Kind::Fifo),
            FileType::Socket => (metadata(&stat, None, &path)?, Kind::Socket),
            _ => return Err(RootError::Type(shown(&path))),
        };
        self.tree
            .insert(&path, metadata, kind)
            .map_err(|source| tree_error(&path, source))?;
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), path);
        }
        Ok(())
    }

    fn file(&mut self, path: &[u8]) -> Result<(Metadata, Kind), RootError> {
        // Whatever is there by now is not waited for.
        let file = File::from(self.open(path, OFlags::NONBLOCK)?);
        let stat = fstat(&file).map_err(|error| read_error(&shown(path), error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(RootError::Changed(shown(path)));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let data = self.data(&file, size, path)?;
        Ok((metadata(&stat, Some(file.as_fd()), path)?, Kind::File(data)))
    }

    /// Copies `size` bytes, without its holes.
    fn data(&mut self, file: &File, size: u64, path: &[u8]) -> Result<FileData, RootError> {
        let mut writer = self.writer.file()?;
        let mut buffer = vec![0; CHUNK];
        let mut position = 0;
        while position < size {
            let run = container_files::data_after(file, position, size)
                .map_err(|error| read_error(&shown(path), error))?;
            // Nothing but a hole up to the end.
            let run = run.unwrap_or(size..size);
            writer.skip(run.start - position)?;
            position = run.start;
            while position < run.end {
                let most =
                    usize::try_from(run.end - position).map_or(CHUNK, |left| left.min(CHUNK));
                let read = rustix::io::pread(file, &mut buffer[..most], position)
                    .map_err(|error| read_error(&shown(path), error))?;
                if read == 0 {
                    return Err(RootError::Changed(shown(path)));
                }
                writer.write(&buffer[..read])?;
                position += read as u64;
            }
        }
        Ok(writer.finish()?)
    }

    /// Opens what is at `path`: below the root, through no link and no mount.
    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, RootError> {
        let place: &[u8] = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        openat2(&self.top, place, flags, Mode::empty(), resolve).map_err(|error| match error {
            Errno::XDEV => RootError::MountPoint(shown(path)),
            error => read_error(&shown(path), error),
        })
    }
}

/// Owner, mode, time, and the attributes of what is `opened`.
fn metadata(
    stat: &Stat,
    opened: Option<BorrowedFd<'_>>,
    path: &[u8],
) -> Result<Metadata, RootError> {
    let mut xattrs = Xattrs::default();
    if let Some(opened) = opened {
        let read = |error| read_error(&shown(path), error);
        for name in names(opened).map_err(read)? {
            let is_mark = MARKS.iter().any(|mark| name.starts_with(mark));
            if is_mark || !Xattrs::is_storable(&name) {
                continue;
            }
            let mut value = Vec::with_capacity(erofs::MAX_XATTR_BYTES);
            match fgetxattr(opened, &*name, rustix::buffer::spare_capacity(&mut value)) {
                Ok(_) => {}
                // Gone meanwhile.
                Err(Errno::NODATA) => continue,
                Err(error) => return Err(read(error)),
            }
            xattrs
                .insert(&name, &value)
                .map_err(|source| tree_error(path, source.into()))?;
        }
    }
    Ok(Metadata {
        permissions: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Timestamp {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        xattrs,
    })
}

fn names(file: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut list = Vec::with_capacity(erofs::MAX_XATTR_BYTES);
    match flistxattr(file, rustix::buffer::spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let names = list.split(|byte| *byte == 0);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// A path as the container sees it.
fn shown(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new("/").join(std::ffi::OsStr::from_bytes(path))
}

fn read_error(path: &Path, error: Errno) -> RootError {
    RootError::Read {
        path: path.to_owned(),
        source: io::Error::from(error),
    }
}

fn tree_error(path: &[u8], source: erofs::TreeError) -> RootError {
    RootError::Tree {
        path: shown(path),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use erofs::{Image, InodeId};

    use super::*;

    #[test]
    fn the_image_holds_what_the_directory_holds() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        std::fs::create_dir_all(root.join("bin/deep")).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o1751)).unwrap();
        std::fs::write(root.join("bin/a"), vec![7; 10_000]).unwrap();
        std::fs::set_permissions(root.join("bin/a"), std::fs::Permissions::from_mode(0o4755))
            .unwrap();
        std::fs::hard_link(root.join("bin/a"), root.join("bin/deep/b")).unwrap();
        symlink("/etc/passwd", root.join("link")).unwrap();
        rustix::fs::mknodat(
            CWD,
            root.join("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let sparse = File::create(root.join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (1 << 30) - 3).unwrap();

        let image = scratch.path().join("image");
        let size = write(&root, File::create_new(&image).unwrap()).unwrap();
        let metadata = std::fs::metadata(&image).unwrap();
        assert_eq!(metadata.len(), size);
        assert!(metadata.blocks() * 512 < 4 << 20, "{}", metadata.blocks());

        let file = File::open(&image).unwrap();
        let tree = Image::open_whole(file)
            .unwrap()
            .tree(Limits::default(), 0)
            .unwrap();
        let find = |path: &str| tree.find(path.as_bytes()).unwrap().unwrap();
        assert_eq!(tree.inode(InodeId::ROOT).metadata.permissions, 0o1751);
        assert_eq!(find("bin/a"), find("bin/deep/b"));
        let program = tree.inode(find("bin/a"));
        assert_eq!(program.metadata.permissions, 0o4755);
        assert!(matches!(
            program.kind,
            Kind::File(FileData { size: 10_000, .. })
        ));
        let sparse = tree.inode(find("sparse"));
        assert!(matches!(sparse.kind, Kind::File(FileData { size, .. }) if size == 1 << 30));
        let linked = &tree.inode(find("fifo")).kind;
        assert!(matches!(linked, Kind::Fifo));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let image = File::create_new(scratch.path().join("image")).unwrap();
        let error = write(&scratch.path().join("none"), image).unwrap_err();
        assert!(matches!(error, RootError::Read { .. }), "{error}");
    }
}
