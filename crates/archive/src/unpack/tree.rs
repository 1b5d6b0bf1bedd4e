//! The directories of a tree, and what is made in them.

use std::collections::HashSet;
use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::attributes::times;
use super::file::replaceable;
use super::{Links, Mapping, Rules, UnpackError, shown};
use crate::tar::{Kind, Member, Reader};

/// Bytes of what is remembered of directories until the end, when nothing is made in them any more.
const PENDING_MAX: usize = 64 << 20;
/// Bytes that are written at a time.
pub(super) const BUFFER: usize = 256 << 10;

/// Bytes of a path that the kernel is given at a time: it takes 4095.
const STRETCH: usize = 4000;

/// Bytes of memory that a directory takes until the end.
fn pending_bytes(path: &[Vec<u8>], member: &Member) -> usize {
    let path: usize = path.iter().map(|part| part.len() + 48).sum();
    let xattrs = member.xattrs.iter();
    let xattrs: usize = xattrs
        .map(|(name, value)| name.len() + value.len() + 96)
        .sum();
    2 * path + member.path.len() + xattrs + 256
}

/// A tree that is being made.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    pub(super) rules: Rules,
    /// User and group that new files belong to.
    pub(super) maker: (u32, u32),
    /// The directory of the last member: that of the next one, mostly.
    parent: Option<(Vec<Vec<u8>>, OwnedFd)>,
    /// Whether that directory is one of `new`.
    pub(super) is_new: bool,
    /// Directories that this tree has made, of those in `pending`.
    new: HashSet<Vec<Vec<u8>>>,
    /// Directories whose modes and times are set at the end.
    pending: Vec<(Vec<Vec<u8>>, Member)>,
    pending_bytes: usize,
    pub(super) buffer: Vec<u8>,
    /// Names of unfinished files, so far.
    pub(super) temporary: u64,
}

impl Tree {
    pub fn new(root: OwnedFd, rules: Rules) -> Self {
        Self {
            root,
            rules,
            maker: (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
            parent: None,
            is_new: false,
            new: HashSet::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            buffer: vec![0; BUFFER],
            temporary: 0,
        }
    }

    /// Makes one member; false where it is left out.
    pub fn member<R: Read>(
        &mut self,
        path: &[Vec<u8>],
        member: &Member,
        mapping: &Mapping,
        reader: &mut Reader<R>,
    ) -> Result<bool, UnpackError> {
        // The directory itself is there.
        let Some((name, parent)) = path.split_last() else {
            if member.kind == Kind::Directory && self.rules.top {
                self.remember(path, member)
                    .map_err(|source| UnpackError::Make {
                        path: shown(path),
                        source,
                    })?;
            }
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
            Kind::Character | Kind::Block | Kind::Fifo if self.rules.special => {
                self.special(&parent, &name, member)
            }
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
        self.is_new = self.new.contains(path);
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
        let (mut opened, mut left) = (None::<OwnedFd>, path);
        while stretch(left) < left.len() {
            let (near, far) = left.split_at(stretch(left));
            let from = opened.as_ref().unwrap_or(&self.root);
            opened = Some(self.open_in(from.as_fd(), &near.join(&b'/'), OFlags::PATH)?);
            left = far;
        }
        let last = if left.is_empty() {
            b".".to_vec()
        } else {
            left.join(&b'/')
        };
        let from = opened.as_ref().unwrap_or(&self.root);
        self.open_in(from.as_fd(), &last, flags)
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
        let new = match rustix::fs::mkdirat(parent, name, self.first_directory_mode(member)) {
            Ok(()) => true,
            Err(Errno::EXIST) => {
                match self.open_in(parent.as_fd(), name.as_bytes(), OFlags::PATH) {
                    Ok(_) => false,
                    Err(error) if self.leads_elsewhere(error) => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        if self.remember(path, member)? && new && self.rules.in_place {
            self.new.insert(path.to_vec());
        }
        Ok(true)
    }

    /// Keeps what the directory `path` is to be like until nothing is made in it any more; false where there is no room, and it is so
    /// from now on.
    fn remember(&mut self, path: &[Vec<u8>], member: &Member) -> io::Result<bool> {
        let bytes = pending_bytes(path, member);
        if self.pending_bytes + bytes > PENDING_MAX {
            self.finish_directory(path, member)?;
            return Ok(false);
        }
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
        Ok(true)
    }

    /// Sets modes and times of directories, inner ones first.
    pub fn settle(&mut self) -> Result<(), UnpackError> {
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
        if let Ok(found) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            replaceable(FileType::from_raw_mode(found.st_mode))?;
        }
        let target = member.link.as_slice();
        replacing(parent, name, || rustix::fs::symlinkat(target, parent, name))?;
        self.own_as(parent.as_fd(), name, member)?;
        match rustix::fs::utimensat(parent, name, &times(member), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::NOTSUP) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// A device or a FIFO.
    fn special(&self, parent: &OwnedFd, name: &CString, member: &Member) -> io::Result<bool> {
        let kind = match member.kind {
            Kind::Character => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let (Ok(major), Ok(minor)) = (member.device.0.try_into(), member.device.1.try_into())
        else {
            return Ok(false);
        };
        let mode = Mode::from_raw_mode(u32::from(member.permissions));
        let device = rustix::fs::makedev(major, minor);
        replacing(parent, name, || {
            rustix::fs::mknodat(parent, name, kind, mode, device)
        })?;
        self.own_as(parent.as_fd(), name, member)?;
        // Giving it away has taken set-id bits, and the process's mask others.
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
        rustix::fs::utimensat(parent, name, &times(member), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(true)
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
}

/// How many parts at the beginning of `path` are looked up at once: one at least, if there is one.
fn stretch(path: &[Vec<u8>]) -> usize {
    let mut length = 0;
    let fits = |part: &&Vec<u8>| {
        length += part.len() + 1;
        length <= STRETCH
    };
    path.iter().take_while(fits).count().max(1)
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

#[cfg(test)]
mod tests {
    use super::super::Owners;
    use super::*;
    use crate::tar::Run;

    #[test]
    fn what_is_remembered_of_directories_is_bounded() {
        let scratch = tempfile::tempdir().unwrap();
        let root = OwnedFd::from(std::fs::File::open(scratch.path()).unwrap());
        let rules = Rules {
            links: Links::Refuse,
            owners: Owners::Own,
            ..Rules::default()
        };
        let mut tree = Tree::new(root.try_clone().unwrap(), rules);
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
}
