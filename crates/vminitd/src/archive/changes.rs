//! What was written over the image, told from the overlay's upper directory.
//!
//! That one names what has changed; what it is now is seen in the root itself, as the upper directory may hold a file's metadata
//! without its data (`metacopy`) and a directory's new name without its content (`redirect_dir`): Documentation/filesystems/overlayfs.rst.

use std::ffi::{CStr, CString};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use container_archive::pack::{Contents, PackError, Packer, names};
use container_archive::tar::{Kind, Member};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, makedev, openat, statat};
use rustix::io::Errno;

use super::error::ArchiveError;
use super::transfer::{finish, output};

/// What every start writes into the root, and the directories that it mounts at: no changes of the container's.
const OURS: [&[u8]; 7] = [
    b"dev",
    b"proc",
    b"sys",
    b"etc/hostname",
    b"etc/hosts",
    b"etc/mtab",
    b"etc/resolv.conf",
];

/// What stands before a deleted file's name in a layer (OCI image specification, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";

/// One directory, as it is and as it came to be.
pub struct Trees {
    /// The root's.
    pub merged: OwnedFd,
    /// The image's, if it has one of that name.
    pub image: Option<OwnedFd>,
    /// What was written over it; nothing where all of it counts as written.
    pub upper: Option<OwnedFd>,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Added,
    Changed,
    Deleted,
}

/// Who is told of changes.
trait Sink {
    /// `name`, in `directory` of the root, is what it is by a change. `path` is the whole.
    fn tell(
        &mut self,
        change: Change,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
    ) -> Result<(), PackError>;

    /// What was told since `mark`, of a directory that is the image's own, is kept if something was told of what it holds.
    fn mark(&self) -> usize;

    /// Takes the last word back where nothing was told since.
    fn take_back(&mut self, mark: usize);
}

/// Writes the list of changes to standard output.
pub fn list(trees: Trees) -> Result<(), ArchiveError> {
    let mut list = List(Vec::new());
    walk(trees, &mut Vec::new(), &mut list)?;
    let mut out = output()?;
    for (change, path) in &list.0 {
        let letter: &[u8] = match change {
            Change::Added => b"A/",
            Change::Changed => b"C/",
            Change::Deleted => b"D/",
        };
        for part in [letter, path.as_slice(), b"\0"] {
            out.write_all(part).map_err(ArchiveError::Write)?;
        }
    }
    out.flush().map_err(ArchiveError::Write)
}

/// Writes the changes as a layer to standard output.
pub fn layer(trees: Trees) -> Result<(), ArchiveError> {
    let contents = Contents {
        // What reads layers reads files without holes.
        sparse: false,
        special: true,
        xattrs: true,
        owners: true,
    };
    let mut layer = Layer {
        packer: Packer::new(output()?, contents),
        unnameable: None,
    };
    walk(trees, &mut Vec::new(), &mut layer)?;
    if let Some((first, count)) = &layer.unnameable {
        eprintln!(
            "{count} of the files cannot be in an image, in which names with .wh. are of deleted ones: /{}",
            String::from_utf8_lossy(first)
        );
    }
    finish(layer.packer)
}

/// Whether something at `path` would say of another file that it is deleted.
fn is_whiteout(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|part| part.starts_with(WHITEOUT))
}

struct List(Vec<(Change, Vec<u8>)>);

impl Sink for List {
    fn tell(
        &mut self,
        change: Change,
        _: &OwnedFd,
        _: &CStr,
        path: &[u8],
    ) -> Result<(), PackError> {
        self.0.push((change, path.to_vec()));
        Ok(())
    }

    fn mark(&self) -> usize {
        self.0.len()
    }

    fn take_back(&mut self, mark: usize) {
        if self.0.len() == mark {
            self.0.pop();
        }
    }
}

struct Layer {
    packer: Packer<io::BufWriter<std::fs::File>>,
    /// The first path that is left out, and how many are.
    unnameable: Option<(Vec<u8>, u64)>,
}

impl Sink for Layer {
    fn tell(
        &mut self,
        change: Change,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
    ) -> Result<(), PackError> {
        if is_whiteout(path) {
            let (_, count) = self.unnameable.get_or_insert_with(|| (path.to_vec(), 0));
            *count += 1;
            return Ok(());
        }
        if change != Change::Deleted {
            return self.packer.single(directory, name, path);
        }
        let cut = path.len() - name.to_bytes().len();
        let mark = [&path[..cut], WHITEOUT, name.to_bytes()].concat();
        Ok(self.packer.mark(&Member::new(&mark, Kind::File, 0))?)
    }

    fn mark(&self) -> usize {
        0
    }

    /// A directory that is as it was does no harm in a layer.
    fn take_back(&mut self, _: usize) {}
}

/// Tells `sink` of the changes in one directory, whose path is `path`, and below.
fn walk(trees: Trees, path: &mut Vec<u8>, sink: &mut impl Sink) -> Result<(), ArchiveError> {
    let Trees {
        merged,
        image,
        upper,
    } = trees;
    let failed = |path: &[u8]| {
        let path = std::path::PathBuf::from(std::ffi::OsString::from(
            String::from_utf8_lossy(path).into_owned(),
        ));
        move |error: Errno| ArchiveError::Path {
            path,
            source: error.into(),
        }
    };
    let whole = upper.is_none();
    let opaque = upper
        .as_ref()
        .is_some_and(|upper| has(upper, c"trusted.overlay.opaque"));
    let mut all: Vec<CString> = names(upper.as_ref().unwrap_or(&merged)).map_err(failed(path))?;
    if let (Some(image), true) = (&image, whole || opaque) {
        // Nothing shines through: what is not there any more is deleted.
        all.extend(names(image).map_err(failed(path))?);
        all.sort();
        all.dedup();
    }
    for name in all {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        if !OURS.contains(&path.as_slice()) {
            let now = look(&merged, &name).map_err(failed(path))?;
            let before = match &image {
                Some(image) => look(image, &name).map_err(failed(path))?,
                None => None,
            };
            match (now, before) {
                (None, None) => {}
                (None, Some(_)) => sink.tell(Change::Deleted, &merged, &name, path)?,
                (Some(now), before) => {
                    let change = if before.is_some() {
                        Change::Changed
                    } else {
                        Change::Added
                    };
                    sink.tell(change, &merged, &name, path)?;
                    if is_directory(&now) {
                        let mark = sink.mark();
                        let inner = Trees {
                            merged: open(&merged, &name).map_err(failed(path))?,
                            image: match (&image, &before) {
                                (Some(image), Some(before)) if is_directory(before) => {
                                    Some(open(image, &name).map_err(failed(path))?)
                                }
                                _ => None,
                            },
                            upper: match &upper {
                                Some(upper) => Some(open(upper, &name).map_err(failed(path))?)
                                    .filter(|upper| !has(upper, c"trusted.overlay.redirect")),
                                None => None,
                            },
                        };
                        walk(inner, path, sink)?;
                        if before.is_some_and(|before| is_same(&now, &before)) {
                            sink.take_back(mark);
                        }
                    }
                }
            }
        }
        path.truncate(length);
    }
    Ok(())
}

/// What `name` is; nothing where there is none, or a whiteout, which an image's layer may have.
fn look(directory: &OwnedFd, name: &CStr) -> rustix::io::Result<Option<Stat>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => {
            let device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
            Ok((!(device && found.st_rdev == makedev(0, 0))).then_some(found))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_directory(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

/// Whether two directories have one owner and mode.
fn is_same(now: &Stat, before: &Stat) -> bool {
    let of = |found: &Stat| (found.st_mode, found.st_uid, found.st_gid);
    of(now) == of(before)
}

fn open(directory: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory.as_fd(), name, flags, Mode::empty())
}

fn has(directory: &OwnedFd, attribute: &CStr) -> bool {
    rustix::fs::fgetxattr(directory, attribute, &mut [0_u8; 1][..0]).is_ok_and(|length| length > 0)
}
