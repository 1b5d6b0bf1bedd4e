//! Paths that the container may not see or not change.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, major, minor, open, stat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::failure::{Context, Failure};
use crate::mount::{self, Filesystem, MountFlagSet};

/// Device number of /dev/null (Documentation/admin-guide/devices.txt).
const NULL: (u32, u32) = (1, 3);

/// Puts /dev/null over a file and an empty directory over a directory. What does not exist needs no mask.
pub fn mask(paths: &[String]) -> Result<(), Failure> {
    let mut empty: Option<&str> = None;
    for path in paths {
        let step = || format!("cannot mask {path}");
        let kind = match stat(path.as_str()) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => continue,
            Err(error) => return Err(Failure::step(step(), error)),
        };
        let cover = match (kind, empty) {
            (FileType::Directory, Some(first)) => mount::view(CWD, first, false).context(step)?,
            (FileType::Directory, None) => {
                empty = Some(path);
                empty_directory().map_err(|source| Failure::Mount {
                    target: path.clone(),
                    source,
                })?
            }
            _ => mount::view(null_device()?, "", false).context(step)?,
        };
        mount::attach(cover, path).context(step)?;
    }
    Ok(())
}

/// Makes what is at each path read-only, with all that is mounted below. What does not exist cannot change.
pub fn protect(paths: &[String]) -> Result<(), Failure> {
    for path in paths {
        let step = || format!("cannot make {path} read-only");
        let view = match mount::view(CWD, path, true) {
            Ok(view) => view,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => continue,
            Err(error) => return Err(Failure::step(step(), error)),
        };
        mount::set_attributes(&view, READ_ONLY, true).context(step)?;
        mount::attach(view, path).context(step)?;
    }
    Ok(())
}

/// Makes the mount at `target` read-only; the ones below it stay as they are.
pub fn make_read_only(target: &str) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(target, flags, Mode::empty())
        .and_then(|mount| mount::set_attributes(mount, READ_ONLY, false))
        .context(|| format!("cannot make {target} read-only"))
}

const READ_ONLY: MountFlagSet = MountFlagSet {
    on: MountAttrFlags::MOUNT_ATTR_RDONLY,
    off: MountAttrFlags::empty(),
};

fn empty_directory() -> Result<OwnedFd, mount::FilesystemError> {
    let mut tmpfs = Filesystem::open("tmpfs")?;
    for (key, value) in [("source", "tmpfs"), ("nr_inodes", "1"), ("mode", "0755")] {
        tmpfs.set(key, value)?;
    }
    tmpfs.flag("ro")?;
    tmpfs.mount(MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// The container's /dev/null, which must be no other file.
pub fn null_device() -> Result<OwnedFd, Failure> {
    let step = || "cannot open /dev/null of the container";
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = open("/dev/null", flags, Mode::empty()).context(step)?;
    if !is_null(&fstat(&null).context(step)?) {
        return Err(Failure::step(step(), Errno::NODEV));
    }
    Ok(null)
}

/// Whether it is the null device, as a masked file is.
pub fn is_null(stat: &Stat) -> bool {
    let device = (major(stat.st_rdev), minor(stat.st_rdev));
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && device == NULL
}
