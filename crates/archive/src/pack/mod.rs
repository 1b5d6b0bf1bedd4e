//! A tree of files, written as members of a tar.

mod content;
mod level;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::tar::{Kind, Member, PATH_MAX, Run, Writer};
use crate::told::Shortfall;
use content::{HOLES_MIN, runs, xattrs};
pub use level::names;
use level::{Level, enter, is_made_up, stat};

/// Directories on the way down that are open at a time. Those above them are found again from below.
const OPEN_MAX: usize = 64;
/// Files with several names that are remembered, at most. Those beyond are written once for each name.
const LINKS_MAX: usize = 1 << 20;
/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

/// What is written of a tree, beside names, contents, modes and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Files with holes are stored as sparse members.
    pub sparse: bool,
    /// Devices, FIFOs; left out otherwise. Sockets always are.
    pub special: bool,
    /// Extended attributes that mean the same elsewhere.
    pub xattrs: bool,
    /// Numbers of owners; root's otherwise.
    pub owners: bool,
}

/// Why a tree cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file or directory of it.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Its path, as it is in the archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is asked for is none of the kinds that are copied.
    #[error("cannot copy {}: it is neither a file nor a directory", .0.display())]
    Kind(PathBuf),
    /// What stands for a share of a container that does not run.
    #[error("{} is not there while the container does not run: something is mounted there", .0.display())]
    Absent(PathBuf),
    /// The stream.
    #[error("cannot write the archive")]
    Write(#[from] io::Error),
}

/// Writes trees to one archive.
#[derive(Debug)]
pub struct Packer<W> {
    writer: Writer<W>,
    contents: Contents,
    /// The first member of each file with several names, by its device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    /// What the archive lacks of the trees.
    pub shortfall: Shortfall,
}

impl<W: Write> Packer<W> {
    /// Starts an archive.
    pub fn new(out: W, contents: Contents) -> Self {
        Self {
            writer: Writer::new(out),
            contents,
            links: HashMap::new(),
            buffer: vec![0; BUFFER],
            shortfall: Shortfall::default(),
        }
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn finish(self) -> io::Result<W> {
        self.writer.finish()
    }

    /// Writes `name` of `directory`, and what is below it, as `path`. Links are not followed. What is gone by the time it
    /// is looked at is left out.
    ///
    /// # Errors
    /// The first file that cannot be read, and those of the stream.
    pub fn tree(
        &mut self,
        directory: impl AsFd,
        name: &CStr,
        path: &[u8],
    ) -> Result<(), PackError> {
        let directory = directory.as_fd();
        let Some(found) = stat(directory, name, path)? else {
            return Ok(());
        };
        self.write(directory, name, path, &found)?;
        match enter(directory, name, path, &found)? {
            Some(opened) => self.below(opened, path),
            None => Ok(()),
        }
    }

    /// Writes what is in `directory`, below `path`; an empty one means that names stand alone.
    ///
    /// # Errors
    /// As [`Self::tree`].
    pub fn children(&mut self, directory: impl AsFd, path: &[u8]) -> Result<(), PackError> {
        let directory = directory.as_fd().try_clone_to_owned()?;
        self.below(directory, path)
    }

    /// Writes what is at `real`, a path without links, as the tree that `cp` copies: called `name`, or without one the contents of a
    /// directory, below a first member `./`.
    ///
    /// # Errors
    /// As [`Self::tree`].
    pub fn requested(&mut self, real: &Path, name: Option<&OsStr>) -> Result<(), PackError> {
        let failed = |source: io::Error| PackError::Read {
            path: real.to_owned(),
            source,
        };
        let found = real.symlink_metadata().map_err(failed)?;
        if !self.contents.special && !found.is_dir() && !found.is_file() {
            return Err(PackError::Kind(real.to_owned()));
        }
        if let (Some(parent), Some(last), Some(name)) = (real.parent(), real.file_name(), name) {
            let parent = File::open(parent).map_err(failed)?;
            let last = CString::new(last.as_bytes()).map_err(|error| failed(error.into()))?;
            return self.tree(&parent, &last, name.as_bytes());
        }
        // The root has no name, whatever it is to be called.
        let (first, below): (&[u8], &[u8]) = match name {
            Some(name) => (name.as_bytes(), name.as_bytes()),
            None => (b".", b""),
        };
        let directory = File::open(real).map_err(failed)?;
        self.single(&directory, c".", first)?;
        self.children(&directory, below)
    }

    /// Writes `name` of `directory` alone as `path`.
    ///
    /// # Errors
    /// As [`Self::tree`].
    pub fn single(
        &mut self,
        directory: impl AsFd,
        name: &CStr,
        path: &[u8],
    ) -> Result<(), PackError> {
        let found = stat(directory.as_fd(), name, path)?;
        found.map_or(Ok(()), |found| {
            self.write(directory.as_fd(), name, path, &found)
        })
    }

    /// Writes a member that is in no tree and has no content.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn mark(&mut self, member: &Member) -> io::Result<()> {
        self.writer.member(member)
    }

    /// What is in `directory`, level by level without recursion: how deep a tree is its maker decides.
    fn below(&mut self, directory: OwnedFd, path: &[u8]) -> Result<(), PackError> {
        let mut path = path.to_vec();
        let mut levels = vec![Level::new(directory, &path)?];
        while let Some(level) = levels.last_mut() {
            path.truncate(level.path);
            let Some(name) = level.names.next() else {
                let left = levels.pop();
                if let (Some(above), Some(left)) = (levels.last_mut(), left) {
                    above.return_from(&left, &path)?;
                }
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            let directory = level.directory()?.as_fd();
            let Some(found) = stat(directory, &name, &path)? else {
                continue;
            };
            // Who unpacks it would refuse it, when it is too late. A directory has a slash at its end.
            if path.len() >= PATH_MAX {
                return Err(read_error(&path)(Errno::NAMETOOLONG));
            }
            self.write(directory, &name, &path, &found)?;
            let Some(opened) = enter(directory, &name, &path, &found)? else {
                continue;
            };
            // What the kernel makes up has no end.
            if is_made_up(&opened) {
                continue;
            }
            levels.push(Level::new(opened, &path)?);
            if let Some(far) = levels.len().checked_sub(OPEN_MAX + 1) {
                levels[far].directory = None;
            }
        }
        Ok(())
    }

    /// The member of one file, and its content.
    fn write(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        found: &Stat,
    ) -> Result<(), PackError> {
        let kind = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice if self.contents.special => Kind::Character,
            FileType::BlockDevice if self.contents.special => Kind::Block,
            FileType::Fifo if self.contents.special => Kind::Fifo,
            // Of no use without the program that made it.
            FileType::Socket => return Ok(()),
            _ => {
                self.shortfall.special += 1;
                return Ok(());
            }
        };
        let mut member = self.describe(kind, path, found);
        if kind != Kind::Directory && found.st_nlink > 1 {
            let remembered = self.links.len();
            match self.links.entry((found.st_dev, found.st_ino)) {
                Entry::Occupied(first) => {
                    member.kind = Kind::HardLink;
                    member.link.clone_from(first.get());
                    member.size = 0;
                    return Ok(self.writer.member(&member)?);
                }
                Entry::Vacant(free) if remembered < LINKS_MAX => {
                    free.insert(path.to_vec());
                }
                Entry::Vacant(_) => {}
            }
        }
        match kind {
            Kind::File => return self.file(directory, name, member),
            Kind::Symlink => match rustix::fs::readlinkat(directory, name, Vec::new()) {
                Ok(target) => member.link = target.into_bytes(),
                Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                Err(error) => return Err(read_error(path)(error)),
            },
            Kind::Directory if self.contents.xattrs => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if let Ok(opened) = rustix::fs::openat(directory, name, flags, Mode::empty()) {
                    member.xattrs = xattrs(&opened).map_err(read_error(path))?;
                }
            }
            _ => {}
        }
        Ok(self.writer.member(&member)?)
    }

    fn describe(&self, kind: Kind, path: &[u8], found: &Stat) -> Member {
        let mut member = Member::new(
            path,
            kind,
            u16::try_from(found.st_mode & 0o7777).unwrap_or(0),
        );
        if kind == Kind::Directory {
            member.path.push(b'/');
        }
        if self.contents.owners {
            (member.uid, member.gid) = (found.st_uid, found.st_gid);
        }
        let nanoseconds = u32::try_from(found.st_mtime_nsec).unwrap_or(0);
        member.mtime = (found.st_mtime, nanoseconds);
        if matches!(kind, Kind::Character | Kind::Block) {
            let major = rustix::fs::major(found.st_rdev);
            member.device = (major.into(), rustix::fs::minor(found.st_rdev).into());
        }
        member
    }

    fn file(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        mut member: Member,
    ) -> Result<(), PackError> {
        let path = member.path.clone();
        // What was put in its place is not waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP) => {
                self.links.retain(|_, first| *first != path);
                return Ok(());
            }
            Err(error) => return Err(read_error(&path)(error)),
        };
        let found = rustix::fs::fstat(&file).map_err(read_error(&path))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        member.size = u64::try_from(found.st_size).unwrap_or(0);
        if member.size == 0 {
            return self.sizeless(&file, member);
        }
        if self.contents.xattrs {
            member.xattrs = xattrs(&file).map_err(read_error(&path))?;
        }
        // Most files have no hole: their blocks tell.
        let blocks = u64::try_from(found.st_blocks).unwrap_or(0);
        if self.contents.sparse && blocks.saturating_mul(512) + HOLES_MIN <= member.size {
            member.sparse = runs(&file, member.size).map_err(read_error(&path))?;
        }
        self.writer.member(&member)?;
        let whole = vec![Run {
            offset: 0,
            length: member.size,
        }];
        let mut complete = true;
        for run in member.sparse.unwrap_or(whole) {
            complete &= self.copy(&file, &path, run)?;
        }
        self.shortfall.changed += u64::from(!complete);
        Ok(())
    }

    /// An empty file, or one of those of the kernel's that do not tell how long they are.
    fn sizeless(&mut self, file: &OwnedFd, mut member: Member) -> Result<(), PackError> {
        let mut filled = 0;
        while filled < self.buffer.len() {
            match rustix::io::pread(file, &mut self.buffer[filled..], filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                // Something that can be waited for only.
                Err(_) => break,
            }
        }
        member.size = filled as u64;
        if self.contents.xattrs {
            member.xattrs = xattrs(file).map_err(read_error(&member.path))?;
        }
        self.writer.member(&member)?;
        Ok(self.writer.write_all(&self.buffer[..filled])?)
    }

    /// Copies a run of `file`; zeros stand for what is missing, and false is given.
    fn copy(&mut self, file: &OwnedFd, path: &[u8], run: Run) -> Result<bool, PackError> {
        let (mut offset, end) = (run.offset, run.offset + run.length);
        let mut complete = true;
        while offset < end {
            let want = usize::try_from(end - offset).unwrap_or(BUFFER).min(BUFFER);
            let mut count = 0;
            if complete {
                count = match rustix::io::pread(file, &mut self.buffer[..want], offset) {
                    Ok(count) => count,
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(read_error(path)(error)),
                };
            }
            if count == 0 {
                complete = false;
                self.buffer[..want].fill(0);
                count = want;
            }
            self.writer.write_all(&self.buffer[..count])?;
            offset += count as u64;
        }
        Ok(complete)
    }
}

fn read_error(path: &[u8]) -> impl Fn(Errno) -> PackError + '_ {
    move |source| PackError::Read {
        path: Path::new(OsStr::from_bytes(path)).to_owned(),
        source: source.into(),
    }
}
