//! Files of the host's making (`/etc/hosts` and the like) that a mount of the container would hide: they are put over it, as docker and
//! podman do.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, statfs};
use rustix::mount::MountAttrFlags;

use super::failure::{Context, Failure};
use super::plan::ContainerPlan;
use crate::mount::{self, MountFlagSet};

/// `FUSE_SUPER_MAGIC` of linux/magic.h.
const FUSE: i64 = 0x6573_5546;

/// A file, and a view of it from before the mounts.
#[derive(Debug)]
pub struct Hidden {
    path: PathBuf,
    view: OwnedFd,
}

/// Those that the mounts of `plan` hide. They have been written, and the mounts are still to come.
pub fn find(plan: &ContainerPlan) -> Result<Vec<Hidden>, Failure> {
    let mut found = Vec::new();
    for file in plan.files.iter().filter(|file| !file.link) {
        let path = Path::new("/").join(file.path.trim_start_matches('/'));
        let places = || plan.mounts.iter().map(|mount| Path::new(&mount.target));
        // What is mounted at the very place is wanted there.
        if !is_hidden(&path, places()) {
            continue;
        }
        let step = || format!("cannot keep {}", path.display());
        let view = mount::view(CWD, path.as_path(), false).context(step)?;
        if plan.read_only {
            let mut flags = MountFlagSet::default();
            flags.on.insert(MountAttrFlags::MOUNT_ATTR_RDONLY);
            mount::set_attributes(&view, flags, false).context(step)?;
        }
        found.push(Hidden { path, view });
    }
    Ok(found)
}

fn is_hidden<'a>(path: &Path, mut places: impl Iterator<Item = &'a Path> + Clone) -> bool {
    places.clone().all(|place| place != path) && places.any(|place| path.starts_with(place))
}

impl Hidden {
    /// Puts the file over what was mounted, where there is a place for it. None is made on a share, which is the host's.
    pub fn show(self) -> Result<(), Failure> {
        let step = || format!("cannot mount {}", self.path.display());
        if has_place(&self.path).context(step)? {
            let path = self.path.to_str().unwrap_or_default();
            mount::attach(&self.view, path).context(step)?;
        }
        Ok(())
    }
}

fn has_place(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) => return Ok(found.is_file()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Ok(false),
        Err(_) => {}
    }
    let Some(parent) = path.parent() else {
        return Ok(false);
    };
    if !parent.is_dir() || statfs(parent)?.f_type == FUSE {
        return Ok(false);
    }
    let mut options = fs::OpenOptions::new();
    // The mount may be one that nobody writes to.
    let made = options.write(true).create_new(true).mode(0o644).open(path);
    Ok(made.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beneath_a_mount_is_hidden() {
        let hidden = |places: &[&str]| {
            let places = places.iter().map(Path::new);
            is_hidden(Path::new("/etc/hosts"), places)
        };
        assert!(hidden(&["/etc"]) && hidden(&["/proc", "/etc", "/etc/x"]));
        assert!(!hidden(&["/etc/host", "/etcetera", "/proc"]));
        assert!(!hidden(&["/etc", "/etc/hosts"]));
    }

    #[test]
    fn a_place_is_made_where_there_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        assert!(has_place(&at("hosts")).unwrap() && at("hosts").is_file());
        assert!(has_place(&at("hosts")).unwrap());
        std::os::unix::fs::symlink("hosts", at("link")).unwrap();
        assert!(!has_place(&at("link")).unwrap());
        assert!(!has_place(&at("none/hosts")).unwrap());
    }
}
