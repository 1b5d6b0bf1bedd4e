//! The members of a tar, made beneath a directory.
//!
//! They come from a guest, or from whoever made the archive. So what an archive names is looked up beneath the directory only, and never
//! through a link (`openat2(2)`): what would lead elsewhere is left out. Links lead only in an archive that may write everywhere
//! anyway: one that is unpacked in the container's own root.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::tar::{Kind, Member, Reader, Run, TarError};

/// Bytes of what is remembered of directories until the end, when nothing is made in them any more.
const PENDING_MAX: usize = 64 << 20;
/// Longest path of a member, in bytes (`PATH_MAX`). Longer ones are left out.
const PATH_MAX: usize = 4096;
/// Bytes that are written at a time.
const BUFFER: usize = 256 << 10;
/// `utimensat(2)`: this time stays.
const UTIME_OMIT: i64 = (1 << 30) - 2;

/// Whether links lead on the way to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// As everywhere, but for those of `/proc` that are none: the process's root is the bound.
    Follow,
    /// A member whose path leads through one is left out.
    Refuse,
}

/// Whom files are to belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Those of the archive, as far as this process may give files away.
    Keep,
    /// This user and group.
    All(u32, u32),
    /// Whoever this process is.
    Own,
}

/// How members are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// On the way to them.
    pub links: Links,
    /// Whom they belong to.
    pub owners: Owners,
    /// Set-id bits and file capabilities are made, too.
    pub privileges: bool,
}

/// Which part of an archive goes where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// The first component that members' paths must have; it is taken off.
    pub strip: Option<Vec<u8>>,
    /// The component that is put before what is left.
    pub put: Option<Vec<u8>>,
}

impl Mapping {
    /// That of a tree, as [`Packer::requested`](crate::pack::Packer::requested) writes it, whose first member is `first`. `named`: the tree was to have
    /// a name of its own. Its sender may call it anything: it becomes `put`, and nothing else of the stream is made.
    ///
    /// # Errors
    /// The stream begins with something else.
    pub fn tree(first: &Member, named: bool, put: Option<OsString>) -> Result<Self, TarError> {
        let (components, kind) = (components(&first.path), first.kind);
        let strip = match components.as_deref() {
            Some([]) if !named && kind == Kind::Directory => None,
            Some([name]) if named && matches!(kind, Kind::Directory | Kind::File) => {
                Some(name.clone())
            }
            _ => return Err(TarError::Malformed("tree: it is not what was asked for")),
        };
        Ok(Self {
            strip,
            put: put.map(OsString::into_vec),
        })
    }

    /// Where `path` goes; nothing where it leads out, or is of another part.
    fn apply(&self, path: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut components = components(path)?;
        if let Some(strip) = &self.strip {
            if components.first() != Some(strip) {
                return None;
            }
            components.remove(0);
        }
        if let Some(put) = &self.put {
            components.insert(0, put.clone());
        }
        Some(components)
    }
}

/// The components of a member's path; nothing where one leads upwards, or it is too long.
pub fn components(path: &[u8]) -> Option<Vec<Vec<u8>>> {
    if path.len() > PATH_MAX {
        return None;
    }
    let parts = path
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."));
    parts
        .map(|part| (part != b"..").then(|| part.to_vec()))
        .collect()
}

/// Why a tree is not made.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A file or directory.
    #[error("cannot make {}", .path.display())]
    Make {
        /// Its path below the directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes what `reader` reads in `directory`, beginning with the member `first` if one has been read already. Gives the number of
/// members that were left out, because they would lead elsewhere or are devices.
///
/// # Errors
/// The first member that cannot be made, and those of the stream.
pub fn unpack<R: Read>(
    reader: &mut Reader<R>,
    first: Option<Member>,
    directory: OwnedFd,
    mapping: &Mapping,
    rules: Rules,
) -> Result<u64, UnpackError> {
    let mut tree = Tree {
        root: directory,
        rules,
        parent: None,
        pending: Vec::new(),
        pending_bytes: 0,
        buffer: vec![0; BUFFER],
        temporary: 0,
    };
    let mut left_out = 0;
    // Without its root a tree is nothing.
    if let Some(root) = first {
        let path = mapping.apply(&root.path);
        let path = path.ok_or(TarError::Malformed("path of the first member"))?;
        if !tree.member(&path, &root, mapping, reader)? {
            return Err(UnpackError::Make {
                path: shown(&path),
                source: Errno::LOOP.into(),
            });
        }
    }
    let mut next = reader.next_member()?;
    while let Some(member) = next {
        let made = match mapping.apply(&member.path) {
            Some(path) => tree.member(&path, &member, mapping, reader)?,
            None => false,
        };
        left_out += u64::from(!made);
        next = reader.next_member()?;
    }
    tree.settle()?;
    Ok(left_out)
}

/// A path as errors show it.
fn shown(path: &[Vec<u8>]) -> PathBuf {
    path.iter()
        .map(|part| Path::new(OsStr::from_bytes(part)))
        .collect()
}

/// Bytes of memory that a directory takes until the end.
fn pending_bytes(path: &[Vec<u8>], member: &Member) -> usize {
    let path: usize = path.iter().map(|part| part.len() + 48).sum();
    let xattrs = member.xattrs.iter();
    let xattrs: usize = xattrs
        .map(|(name, value)| name.len() + value.len() + 96)
        .sum();
    path + member.path.len() + xattrs + 256
}

struct Tree {
    root: OwnedFd,
    rules: Rules,
    /// The directory of the last member: that of the next one, mostly.
    parent: Option<(Vec<Vec<u8>>, OwnedFd)>,
    /// Directories whose modes and times are set at the end.
    pending: Vec<(Vec<Vec<u8>>, Member)>,
    pending_bytes: usize,
    buffer: Vec<u8>,
    /// Names of unfinished files, so far.
    temporary: u64,
}

impl Tree {
    /// Makes one member; false where it is left out.
    fn member<R: Read>(
        &mut self,
        path: &[Vec<u8>],
        member: &Member,
        mapping: &Mapping,
        reader: &mut Reader<R>,
    ) -> Result<bool, UnpackError> {
        // The directory itself is there.
        let Some((name, parent)) = path.split_last() else {
            return Ok(member.kind == Kind::Directory);
        };
        let failed = |source: io::Error| UnpackError::Make {
            path: shown(path),
            source,
        };
        // Paths have no NUL: the reader sees to it.
        let Ok(name) = CString::new(name.clone()) else {
            return Ok(false);
        };
        let parent = match self.parent(parent) {
            Ok(Some(parent)) => parent,
            Ok(None) => return Ok(false),
            Err(error) => return Err(failed(error.into())),
        };
        let made = match member.kind {
            Kind::Directory => self.directory(&parent, &name, path, member),
            Kind::Symlink => self.symlink(&parent, &name, member),
            Kind::HardLink => self.hard_link(&parent, &name, member, mapping),
            Kind::File => self.file(&parent, &name, member, reader),
            Kind::Character | Kind::Block | Kind::Fifo => Ok(false),
        };
        self.parent = Some((path[..path.len() - 1].to_vec(), parent));
        made.map_err(failed)
    }

    /// The directory at `path`, made if it is missing; nothing where links are in the way that are not followed.
    fn parent(&mut self, path: &[Vec<u8>]) -> rustix::io::Result<Option<OwnedFd>> {
        if let Some((last, opened)) = self.parent.take() {
            if last == path {
                return Ok(Some(opened));
            }
        }
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => self.make_parents(path),
            Err(error) if self.leads_elsewhere(error) => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn make_parents(&self, path: &[Vec<u8>]) -> rustix::io::Result<Option<OwnedFd>> {
        let mut opened = self.open(&[], OFlags::PATH)?;
        for part in path {
            let name = CString::new(part.clone()).map_err(|_| Errno::INVAL)?;
            match rustix::fs::mkdirat(&opened, &name, Mode::from_raw_mode(0o755)) {
                Ok(()) => self.own(opened.as_fd(), &name)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            opened = match self.open_in(opened.as_fd(), part, OFlags::PATH) {
                Err(error) if self.leads_elsewhere(error) => return Ok(None),
                opened => opened?,
            };
        }
        Ok(Some(opened))
    }

    fn leads_elsewhere(&self, error: Errno) -> bool {
        self.rules.links == Links::Refuse && matches!(error, Errno::LOOP | Errno::XDEV)
    }

    /// Opens a directory beneath the root.
    fn open(&self, path: &[Vec<u8>], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        if path.is_empty() {
            return self.open_in(self.root.as_fd(), b".", flags);
        }
        self.open_in(self.root.as_fd(), &path.join(&b'/'), flags)
    }

    fn open_in(
        &self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlags,
    ) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = match self.rules.links {
            Links::Follow => ResolveFlags::NO_MAGICLINKS,
            Links::Refuse => {
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
            }
        };
        loop {
            match rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve) {
                // Something was renamed meanwhile, as far as the kernel can tell.
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        name: &CString,
        path: &[Vec<u8>],
        member: &Member,
    ) -> io::Result<bool> {
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                match self.open_in(parent.as_fd(), name.as_bytes(), OFlags::PATH) {
                    Ok(_) => {}
                    Err(error) if self.leads_elsewhere(error) => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
        let bytes = pending_bytes(path, member);
        if self.pending_bytes + bytes > PENDING_MAX {
            self.finish_directory(path, member)?;
        } else {
            self.pending_bytes += bytes;
            let needed = Member {
                xattrs: member.xattrs.clone(),
                permissions: member.permissions,
                uid: member.uid,
                gid: member.gid,
                mtime: member.mtime,
                ..Member::new(&member.path, Kind::Directory, 0)
            };
            self.pending.push((path.to_vec(), needed));
        }
        Ok(true)
    }

    /// Sets modes and times of directories, inner ones first.
    fn settle(&mut self) -> Result<(), UnpackError> {
        for (path, member) in std::mem::take(&mut self.pending).into_iter().rev() {
            self.finish_directory(&path, &member)
                .map_err(|source| UnpackError::Make {
                    path: shown(&path),
                    source,
                })?;
        }
        Ok(())
    }

    fn finish_directory(&self, path: &[Vec<u8>], member: &Member) -> io::Result<()> {
        match self.open(path, OFlags::RDONLY) {
            Ok(opened) => self.finish(&opened, member),
            // It was there before, and is not this process's to read; or another member has taken its place.
            Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn symlink(&self, parent: &OwnedFd, name: &CString, member: &Member) -> io::Result<bool> {
        let target = member.link.as_slice();
        replacing(parent, name, || rustix::fs::symlinkat(target, parent, name))?;
        self.own_as(parent.as_fd(), name, member)?;
        match rustix::fs::utimensat(parent, name, &times(member), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::NOTSUP) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn hard_link(
        &mut self,
        parent: &OwnedFd,
        name: &CString,
        member: &Member,
        mapping: &Mapping,
    ) -> io::Result<bool> {
        let Some(target) = mapping.apply(&member.link) else {
            return Ok(false);
        };
        let Some((last, directory)) = target.split_last() else {
            return Ok(false);
        };
        let Ok(last) = CString::new(last.clone()) else {
            return Ok(false);
        };
        let directory = match self.open(directory, OFlags::PATH) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) if self.leads_elsewhere(error) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        // A link at its end is linked itself.
        let link = || rustix::fs::linkat(&directory, &last, parent, name, AtFlags::empty());
        match link() {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(Errno::EXIST) => {
                let same = |directory: &OwnedFd, name: &CString| {
                    let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    Ok::<_, Errno>((found.st_dev, found.st_ino))
                };
                if same(&directory, &last)? != same(parent, name)? {
                    replacing(parent, name, link)?;
                }
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn file<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &CString,
        member: &Member,
        reader: &mut Reader<R>,
    ) -> io::Result<bool> {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                return Err(Errno::ISDIR.into());
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // Whoever looks meanwhile sees what was there before, or the whole file.
        let (temporary, file) = self.temporary(parent)?;
        let made = self
            .fill(&file, member, reader)
            .and_then(|()| self.finish(&file, member))
            .and_then(|()| take_place(parent, &temporary, &file, name));
        if made.is_err() {
            // The first error is the one to tell.
            let _ = rustix::fs::unlinkat(parent, &temporary, AtFlags::empty());
        }
        made.map(|()| true)
    }

    /// A new file of `parent`, and its name.
    fn temporary(&mut self, parent: &OwnedFd) -> io::Result<(CString, OwnedFd)> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            self.temporary += 1;
            let text = format!(".container-{}-{}", std::process::id(), self.temporary);
            let name = CString::new(text)?;
            match rustix::fs::openat(parent, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok((name, file)),
                // The archive has such a name, too, or a process of this number was killed.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn fill<R: Read>(
        &mut self,
        file: &OwnedFd,
        member: &Member,
        reader: &mut Reader<R>,
    ) -> io::Result<()> {
        let whole = [Run {
            offset: 0,
            length: member.size,
        }];
        for run in member.sparse.as_deref().unwrap_or(&whole) {
            let (mut offset, mut left) = (run.offset, run.length);
            while left > 0 {
                let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
                let count = reader.read(&mut self.buffer[..want])?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let mut written = 0;
                while written < count {
                    written += rustix::io::retry_on_intr(|| {
                        rustix::io::pwrite(
                            file,
                            &self.buffer[written..count],
                            offset + written as u64,
                        )
                    })?;
                }
                offset += count as u64;
                left -= count as u64;
            }
        }
        if member.sparse.is_some() {
            rustix::fs::ftruncate(file, member.size)?;
        }
        Ok(())
    }

    /// Owner, mode, attributes and times of an open file or directory.
    fn finish(&self, file: &OwnedFd, member: &Member) -> io::Result<()> {
        let owner = match self.rules.owners {
            Owners::Keep => Some((member.uid, member.gid)),
            Owners::All(user, group) => Some((user, group)),
            Owners::Own => None,
        };
        // Set-id bits and capabilities of somebody else's file are not for the owner that it has instead.
        let mut given = true;
        if let Some((user, group)) = owner {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            let done = rustix::fs::fchown(file, Some(user), Some(group));
            given = done.is_ok();
            tolerate(done)?;
        }
        let privileges = self.rules.privileges && given;
        let mask = if privileges { 0o7777 } else { 0o1777 };
        tolerate(rustix::fs::fchmod(
            file,
            Mode::from_raw_mode(u32::from(member.permissions) & mask),
        ))?;
        for (name, value) in &member.xattrs {
            if name.starts_with(b"user.") || privileges {
                tolerate(rustix::fs::fsetxattr(
                    file,
                    name.as_slice(),
                    value,
                    XattrFlags::empty(),
                ))?;
            }
        }
        Ok(tolerate(rustix::fs::futimens(file, &times(member)))?)
    }

    fn own_as(
        &self,
        parent: BorrowedFd<'_>,
        name: &CString,
        member: &Member,
    ) -> rustix::io::Result<()> {
        match self.rules.owners {
            Owners::Keep => give(parent, name, member.uid, member.gid),
            _ => self.own(parent, name),
        }
    }

    /// Gives what no member describes, or cannot be opened, to its owner.
    fn own(&self, parent: BorrowedFd<'_>, name: &CString) -> rustix::io::Result<()> {
        match self.rules.owners {
            Owners::All(user, group) => give(parent, name, user, group),
            Owners::Keep | Owners::Own => Ok(()),
        }
    }
}

fn give(parent: BorrowedFd<'_>, name: &CString, user: u32, group: u32) -> rustix::io::Result<()> {
    let owner = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    tolerate(rustix::fs::chownat(
        parent,
        name,
        owner.0,
        owner.1,
        AtFlags::SYMLINK_NOFOLLOW,
    ))
}

/// What this process, or this file system, cannot do is not worth the copy.
fn tolerate(done: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match done {
        Err(Errno::PERM | Errno::NOTSUP | Errno::INVAL) => Ok(()),
        done => done,
    }
}

fn times(member: &Member) -> Timestamps {
    let (seconds, nanoseconds) = member.mtime;
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.into(),
        },
    }
}

/// Does `make`, with whatever is no directory out of its way.
fn replacing(
    parent: &OwnedFd,
    name: &CString,
    make: impl Fn() -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    match make() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            make()
        }
        made => made,
    }
}

/// Renames the complete file `temporary` to `name`. Where something is mounted, its content is written there.
fn take_place(
    parent: &OwnedFd,
    temporary: &CString,
    file: &OwnedFd,
    name: &CString,
) -> io::Result<()> {
    match rustix::fs::renameat(parent, temporary, parent, name) {
        Err(Errno::BUSY) => {}
        renamed => return Ok(renamed?),
    }
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
    io::copy(
        &mut std::fs::File::from(file.try_clone()?),
        &mut std::fs::File::from(target),
    )?;
    rustix::fs::unlinkat(parent, temporary, AtFlags::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use proptest::prelude::*;

    use super::*;
    use crate::pack::{Contents, Packer};
    use crate::tar::Writer;

    const RULES: Rules = Rules {
        links: Links::Refuse,
        owners: Owners::Own,
        privileges: false,
    };

    fn directory(path: &Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    fn unpack_all(archive: &[u8], into: &Path, mapping: &Mapping) -> Result<u64, UnpackError> {
        unpack(
            &mut Reader::new(archive),
            None,
            directory(into),
            mapping,
            RULES,
        )
    }

    #[test]
    fn a_tree_is_made_as_it_was() {
        let scratch = tempfile::tempdir().unwrap();
        let from = scratch.path().join("from");
        fs::create_dir_all(from.join("deep/er")).unwrap();
        fs::write(from.join("deep/er/file"), "content").unwrap();
        fs::set_permissions(
            from.join("deep/er/file"),
            fs::Permissions::from_mode(0o4640),
        )
        .unwrap();
        fs::hard_link(from.join("deep/er/file"), from.join("second")).unwrap();
        symlink("/anywhere", from.join("link")).unwrap();
        let long = "n".repeat(200);
        fs::write(from.join(&long), "").unwrap();
        let sparse = fs::File::create(from.join("sparse")).unwrap();
        rustix::io::pwrite(&sparse, b"end", 8 << 20).unwrap();
        fs::set_permissions(from.join("deep"), fs::Permissions::from_mode(0o500)).unwrap();

        let contents = Contents {
            sparse: true,
            special: false,
            xattrs: true,
            owners: true,
        };
        let mut packer = Packer::new(Vec::new(), contents);
        packer
            .tree(directory(scratch.path()), c"from", b"from")
            .unwrap();
        let archive = packer.finish().unwrap();
        assert!(archive.len() < 1 << 20, "{}", archive.len());

        let to = scratch.path().join("to");
        fs::create_dir(&to).unwrap();
        let mapping = Mapping {
            strip: Some(b"from".to_vec()),
            put: Some(b"as".to_vec()),
        };
        // Twice: what is there is replaced.
        for _ in 0..2 {
            assert_eq!(unpack_all(&archive, &to, &mapping).unwrap(), 0);
        }
        let made = to.join("as");
        assert_eq!(fs::read_to_string(made.join("second")).unwrap(), "content");
        let file = fs::metadata(made.join("deep/er/file")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.nlink()), (0o640, 2));
        assert_eq!(
            fs::read_link(made.join("link")).unwrap(),
            Path::new("/anywhere")
        );
        assert!(made.join(&long).exists());
        assert_eq!(
            fs::metadata(made.join("deep")).unwrap().mode() & 0o7777,
            0o500
        );
        let (old, new) = (
            fs::metadata(from.join("sparse")).unwrap(),
            fs::metadata(made.join("sparse")).unwrap(),
        );
        assert_eq!((old.len(), old.mtime_nsec()), (new.len(), new.mtime_nsec()));
        assert!(new.blocks() * 512 < 1 << 20, "{}", new.blocks());
        for path in [from.join("deep"), made.join("deep")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }
    }

    #[test]
    fn nothing_is_made_outside() {
        let scratch = tempfile::tempdir().unwrap();
        let (outside, inside) = (
            scratch.path().join("outside"),
            scratch.path().join("inside"),
        );
        fs::create_dir(&outside).unwrap();
        fs::create_dir(&inside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        let mut writer = Writer::new(Vec::new());
        let link = |path: &str, kind: Kind, target: &str| Member {
            link: target.as_bytes().to_vec(),
            ..Member::new(path.as_bytes(), kind, 0o777)
        };
        let outside_text = outside.to_str().unwrap();
        for member in [
            link("out", Kind::Symlink, outside_text),
            link("up", Kind::Symlink, "../outside"),
            link("hard", Kind::HardLink, "up/secret"),
            link("harder", Kind::HardLink, "../outside/secret"),
        ] {
            writer.member(&member).unwrap();
        }
        for path in [
            "out/new",
            "up/new",
            "../outside/new",
            "a/../../outside/new",
            "out/secret",
        ] {
            writer.file(path, b"broken").unwrap();
        }
        writer.directory("out/").unwrap();
        writer.directory("up/sub/").unwrap();
        // Absolute means below the directory.
        writer.file("/absolute", b"inside").unwrap();
        // A link in a file's place is replaced.
        writer.file("out", b"a file").unwrap();
        let archive = writer.finish().unwrap();
        assert_eq!(
            unpack_all(&archive, &inside, &Mapping::default()).unwrap(),
            9
        );
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(
            fs::read_to_string(outside.join("secret")).unwrap(),
            "secret"
        );
        assert_eq!(
            fs::read_to_string(inside.join("absolute")).unwrap(),
            "inside"
        );
        assert_eq!(fs::read_to_string(inside.join("out")).unwrap(), "a file");
    }

    #[test]
    fn a_cut_off_archive_leaves_what_it_would_replace() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("file"), "old").unwrap();
        let mut writer = Writer::new(Vec::new());
        writer.start_file("file", 10).unwrap();
        writer.write_all(b"0123456789").unwrap();
        let archive = writer.finish().unwrap();
        assert!(unpack_all(&archive[..515], scratch.path(), &Mapping::default()).is_err());
        assert_eq!(
            fs::read_to_string(scratch.path().join("file")).unwrap(),
            "old"
        );
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_file_is_whole_or_missing() {
        let scratch = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(Vec::new());
        writer.start_file("file", 10).unwrap();
        writer.write_all(b"0123456789").unwrap();
        let archive = writer.finish().unwrap();
        assert!(unpack_all(&archive[..515], scratch.path(), &Mapping::default()).is_err());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        // What a killed process has left is in nobody's way.
        let left = format!(".container-{}-1", std::process::id());
        fs::write(scratch.path().join(&left), "").unwrap();
        unpack_all(&archive, scratch.path(), &Mapping::default()).unwrap();
        assert_eq!(
            fs::read(scratch.path().join("file")).unwrap(),
            b"0123456789"
        );
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    }

    /// The second archive finds the link of the first.
    #[test]
    fn a_link_that_an_archive_has_made_is_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let (outside, inside) = (
            scratch.path().join("outside"),
            scratch.path().join("inside"),
        );
        fs::create_dir(&outside).unwrap();
        fs::create_dir(&inside).unwrap();
        let mut writer = Writer::new(Vec::new());
        writer.directory("x/").unwrap();
        let link = Member {
            link: b"../../outside".to_vec(),
            ..Member::new(b"x/l", Kind::Symlink, 0o777)
        };
        writer.member(&link).unwrap();
        writer.file("x/l/shadow", b"hostile").unwrap();
        writer.directory("x/l/sub/").unwrap();
        let archive = writer.finish().unwrap();
        for _ in 0..2 {
            assert_eq!(
                unpack_all(&archive, &inside, &Mapping::default()).unwrap(),
                2
            );
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);

        // Nor is one in the place of the tree itself.
        symlink("../outside", inside.join("as")).unwrap();
        let mut reader = Reader::new(archive.as_slice());
        let first = reader.next_member().unwrap().unwrap();
        let mapping = Mapping::tree(&first, true, Some("as".into())).unwrap();
        let made = unpack(
            &mut reader,
            Some(first),
            directory(&inside),
            &mapping,
            RULES,
        );
        assert!(made.is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn links_lead_where_they_are_followed() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("usr/lib")).unwrap();
        symlink("usr/lib", scratch.path().join("lib")).unwrap();
        symlink("/proc/self/cwd", scratch.path().join("magic")).unwrap();
        let mut writer = Writer::new(Vec::new());
        writer.file("lib/new", b"").unwrap();
        let archive = writer.finish().unwrap();
        let rules = Rules {
            links: Links::Follow,
            ..RULES
        };
        let make = |archive: &[u8]| {
            let mut reader = Reader::new(archive);
            let root = directory(scratch.path());
            unpack(&mut reader, None, root, &Mapping::default(), rules)
        };
        assert_eq!(make(&archive).unwrap(), 0);
        assert!(scratch.path().join("usr/lib/new").exists());
        let mut writer = Writer::new(Vec::new());
        writer.directory("magic/").unwrap();
        assert!(make(&writer.finish().unwrap()).is_err());
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_told_of() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("file"), "old").unwrap();
        let mut directory = Writer::new(Vec::new());
        directory.directory("file/").unwrap();
        let mut below = Writer::new(Vec::new());
        below.file("file/x", b"").unwrap();
        for archive in [directory.finish().unwrap(), below.finish().unwrap()] {
            let error = unpack_all(&archive, scratch.path(), &Mapping::default()).unwrap_err();
            assert!(matches!(error, UnpackError::Make { .. }), "{error}");
        }
        assert_eq!(fs::read(scratch.path().join("file")).unwrap(), b"old");
    }

    #[test]
    fn what_is_remembered_of_directories_is_bounded() {
        let scratch = tempfile::tempdir().unwrap();
        let root = directory(scratch.path());
        let mut tree = Tree {
            root: root.try_clone().unwrap(),
            rules: RULES,
            parent: None,
            pending: Vec::new(),
            pending_bytes: 0,
            buffer: Vec::new(),
            temporary: 0,
        };
        let run = Run {
            offset: 0,
            length: 0,
        };
        for number in 0..100 {
            let name = format!("d{number}");
            let member = Member {
                link: vec![b'l'; 1 << 20],
                xattrs: vec![(b"trusted.x".to_vec(), vec![0; 1 << 20])],
                sparse: Some(vec![run; 1 << 10]),
                ..Member::new(name.as_bytes(), Kind::Directory, 0o700)
            };
            let path = [name.clone().into_bytes()];
            let name = CString::new(name).unwrap();
            assert!(tree.directory(&root, &name, &path, &member).unwrap());
        }
        let held: usize = tree
            .pending
            .iter()
            .map(|(path, member)| {
                assert_eq!((member.link.len(), &member.sparse), (0, &None));
                pending_bytes(path, member)
            })
            .sum();
        assert!(held <= PENDING_MAX && tree.pending.len() < 64, "{held}");
        tree.settle().unwrap();
    }

    /// A file that cannot be given to its owner has none of its privileges. Root can give every file away.
    #[test]
    fn set_id_bits_are_for_the_owner_of_the_archive() {
        let scratch = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let mut writer = Writer::new(Vec::new());
        for (name, uid) in [("own", own), ("other", u32::MAX - 2)] {
            let member = Member {
                uid,
                gid: rustix::process::getegid().as_raw(),
                ..Member::new(name.as_bytes(), Kind::File, 0o4755)
            };
            writer.member(&member).unwrap();
        }
        let archive = writer.finish().unwrap();
        let rules = Rules {
            owners: Owners::Keep,
            privileges: true,
            ..RULES
        };
        unpack(
            &mut Reader::new(archive.as_slice()),
            None,
            directory(scratch.path()),
            &Mapping::default(),
            rules,
        )
        .unwrap();
        for name in ["own", "other"] {
            let found = fs::metadata(scratch.path().join(name)).unwrap();
            let kept = found.mode() & 0o4000 != 0;
            assert_eq!(kept, name == "own" || found.uid() != own, "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_named_stays_beneath(path in "[a./]{0,12}", link in "[a./]{1,12}", kind in 0..4_usize) {
            let scratch = tempfile::tempdir().unwrap();
            let inside = scratch.path().join("x/inside");
            fs::create_dir_all(&inside).unwrap();
            let kind = [Kind::File, Kind::Directory, Kind::Symlink, Kind::HardLink][kind];
            let mut writer = Writer::new(Vec::new());
            for name in [path.as_bytes(), b"a/a/a"] {
                let name = if name.is_empty() { b"a" } else { name };
                let target = if matches!(kind, Kind::Symlink | Kind::HardLink) { link.as_bytes() } else { b"" };
                writer.member(&Member { link: target.to_vec(), ..Member::new(name, kind, 0o700) }).unwrap();
            }
            let archive = writer.finish().unwrap();
            let _ = unpack_all(&archive, &inside, &Mapping::default());
            prop_assert_eq!(fs::read_dir(scratch.path().join("x")).unwrap().count(), 1);
            prop_assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
        }
    }
}
