//! The members of a tar, made beneath a directory.
//!
//! On the host they come from a guest. So what an archive names is looked up beneath the directory only, and never through a link
//! (`openat2(2)`): what would lead elsewhere is left out. In the guest the process's own root is the container's, where
//! links may lead where they like.

use std::ffi::{CString, OsStr};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
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
    /// As everywhere: the process's root is the bound.
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
    let mut next = match first {
        Some(member) => Some(member),
        None => reader.next_member()?,
    };
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
            path: path
                .iter()
                .map(|part| Path::new(OsStr::from_bytes(part)))
                .collect(),
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
        self.rules.links == Links::Refuse
            && matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::XDEV)
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
        match self.rules.links {
            Links::Follow => rustix::fs::openat(directory, path, flags, Mode::empty()),
            Links::Refuse => {
                let resolve =
                    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                loop {
                    match rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve) {
                        // Something was renamed meanwhile, as far as the kernel can tell.
                        Err(Errno::AGAIN) => {}
                        opened => return opened,
                    }
                }
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
        let bytes = member.path.len() + path.len() * 24 + 256;
        self.pending_bytes += bytes;
        if self.pending_bytes > PENDING_MAX {
            self.pending_bytes -= bytes;
            self.finish_directory(path, member)?;
        } else {
            self.pending.push((path.to_vec(), member.clone()));
        }
        Ok(true)
    }

    /// Sets modes and times of directories, inner ones first.
    fn settle(&mut self) -> Result<(), UnpackError> {
        for (path, member) in std::mem::take(&mut self.pending).into_iter().rev() {
            self.finish_directory(&path, &member)
                .map_err(|source| UnpackError::Make {
                    path: path
                        .iter()
                        .map(|part| Path::new(OsStr::from_bytes(part)))
                        .collect(),
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
        let create = |name: &CString| {
            let flags =
                OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        };
        match create(name) {
            Ok(file) => {
                self.fill(&file, member, reader)?;
                self.finish(&file, member)?;
            }
            // Whoever reads it meanwhile sees the old one or the new one.
            Err(Errno::EXIST) => {
                let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                    return Err(Errno::ISDIR.into());
                }
                self.temporary += 1;
                let text = format!(".container-{}-{}", std::process::id(), self.temporary);
                let temporary = CString::new(text)?;
                let file = create(&temporary)?;
                let made = self
                    .fill(&file, member, reader)
                    .and_then(|()| self.finish(&file, member))
                    .and_then(|()| take_place(parent, &temporary, &file, name));
                if made.is_err() {
                    // The first error is the one to tell.
                    let _ = rustix::fs::unlinkat(parent, &temporary, AtFlags::empty());
                }
                made?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
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
        if let Some((user, group)) = owner {
            tolerate(rustix::fs::fchown(
                file,
                Some(Uid::from_raw(user)),
                Some(Gid::from_raw(group)),
            ))?;
        }
        let mask = if self.rules.privileges {
            0o7777
        } else {
            0o1777
        };
        tolerate(rustix::fs::fchmod(
            file,
            Mode::from_raw_mode(u32::from(member.permissions) & mask),
        ))?;
        for (name, value) in &member.xattrs {
            if name.starts_with(b"user.") || self.rules.privileges {
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
