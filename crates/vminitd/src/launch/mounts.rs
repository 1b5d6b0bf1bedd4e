//! The specification's mounts: made while the guest's own tree is visible, attached in the container's.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, fstat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::failure::{Context, Failure};
use super::plan::PlannedMount;
use crate::mount::{self, Filesystem, FilesystemError};

/// A mount that is not attached yet.
#[derive(Debug)]
pub struct Prepared<'a> {
    plan: &'a PlannedMount,
    mount: OwnedFd,
}

/// Makes the mount. Its source is looked up among what the guest has, so this comes before the change of root.
pub fn prepare(plan: &PlannedMount) -> Result<Prepared<'_>, Failure> {
    let mount = if plan.options.bind {
        bind(plan)?
    } else {
        filesystem(plan)?
    };
    Ok(Prepared { plan, mount })
}

fn bind(plan: &PlannedMount) -> Result<OwnedFd, Failure> {
    let options = &plan.options;
    let step = || format!("cannot bind {} to {}", plan.source, plan.target);
    let mount = mount::clone_tree(CWD, &plan.source, options.recursive).context(step)?;
    if !options.set.is_empty() {
        mount::set_attributes(&mount, options.set, options.recursive).context(step)?;
    }
    Ok(mount)
}

fn filesystem(plan: &PlannedMount) -> Result<OwnedFd, Failure> {
    let make = || -> Result<OwnedFd, FilesystemError> {
        // Specifications written for cgroup v1 name it so; the guest has v2 only.
        let kind = if plan.kind == "cgroup" {
            "cgroup2"
        } else {
            &plan.kind
        };
        let mut filesystem = Filesystem::open(kind)?;
        if !plan.source.is_empty() {
            filesystem.set("source", &plan.source)?;
        }
        let late = read_only_late(plan);
        for flag in plan
            .options
            .superblock
            .iter()
            .filter(|flag| !(late && **flag == "ro"))
        {
            filesystem.flag(flag)?;
        }
        for (key, value) in &plan.options.data {
            match value {
                Some(value) => filesystem.set(key, value)?,
                None => filesystem.flag(key)?,
            }
        }
        let mut attributes = plan.options.set.on;
        if late {
            attributes.remove(MountAttrFlags::MOUNT_ATTR_RDONLY);
        }
        filesystem.mount(attributes)
    };
    make().map_err(|source| Failure::Mount {
        target: plan.target.clone(),
        source,
    })
}

/// Device nodes are still to be made in /dev; [`seal`] comes after them.
fn read_only_late(plan: &PlannedMount) -> bool {
    plan.options.is_read_only() && !plan.options.bind && is_dev(&plan.target)
}

/// Whether `target` is /dev.
pub fn is_dev(target: &str) -> bool {
    Path::new(target) == Path::new("/dev")
}

impl Prepared<'_> {
    /// Attaches the mount; its place is made if it is missing. The root of the calling process is the
    /// container's, so no link leads out of it.
    pub fn attach(self) -> Result<(), Failure> {
        let target = &self.plan.target;
        let step = || format!("cannot mount {target}");
        self.place().context(step)?;
        mount::attach(&self.mount, target).context(step)?;
        for change in &self.plan.options.propagation {
            mount::set_propagation(target, *change).context(step)?;
        }
        Ok(())
    }

    fn place(&self) -> std::io::Result<()> {
        let target = Path::new(&self.plan.target);
        let root = FileType::from_raw_mode(fstat(&self.mount)?.st_mode);
        if root != FileType::Directory {
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            if !target.exists() {
                let mut options = fs::OpenOptions::new();
                options.write(true).create(true).mode(0o644).open(target)?;
            }
            return Ok(());
        }
        // Masked paths are named by where proc and sysfs should be, so these must be nowhere else.
        let kernel = matches!(self.plan.kind.as_str(), "proc" | "sysfs");
        if kernel && fs::symlink_metadata(target).is_ok_and(|place| place.is_symlink()) {
            return Err(Errno::LOOP.into());
        }
        fs::create_dir_all(target)
    }
}

/// Does what had to wait until the container was furnished.
pub fn seal(plan: &PlannedMount) -> Result<(), Failure> {
    if !read_only_late(plan) {
        return Ok(());
    }
    super::masks::make_read_only(&plan.target)
}
