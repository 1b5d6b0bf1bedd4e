//! The specification's mounts: made while the guest's own tree is visible, attached in the container's.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};

use super::container::create_directory;
use super::failure::{Context, Failure};
use super::plan::PlannedMount;
use crate::mount::{self, Filesystem, FilesystemError, MountOptions};

/// Where file systems are attached of which parts are mounted.
const WHOLES: &str = "/run/wholes";

/// A mount that is not attached yet.
#[derive(Debug)]
pub struct Prepared<'a> {
    plan: &'a PlannedMount,
    mount: OwnedFd,
}

/// Makes the mounts. Their sources are looked up among what the guest has, so this comes before the change of root.
pub fn prepare<'a>(plans: &'a [PlannedMount]) -> Result<Vec<Prepared<'a>>, Failure> {
    let mut wholes = Wholes::default();
    let prepare = |plan: &'a PlannedMount| {
        let mount = match &plan.options {
            MountOptions { bind: true, .. } => bind(plan)?,
            MountOptions {
                part: Some(part), ..
            } => wholes.part(plan, part)?,
            _ => filesystem(plan)?,
        };
        Ok(Prepared { plan, mount })
    };
    let prepared = plans.iter().map(prepare).collect();
    wholes.detach()?;
    prepared
}

fn bind(plan: &PlannedMount) -> Result<OwnedFd, Failure> {
    let options = &plan.options;
    let step = || format!("cannot bind {} to {}", plan.source, plan.target);
    let mount = match &options.part {
        None => mount::view(CWD, &plan.source, options.recursive).context(step)?,
        Some(part) => part_of_directory(plan, part)?,
    };
    if !options.set.is_empty() {
        mount::set_attributes(&mount, options.set, options.recursive).context(step)?;
    }
    Ok(mount)
}

/// A view of `part` of the directory that `plan` names. The directory may be anybody's: a link on the way leads nowhere but into it, or is refused.
fn part_of_directory(plan: &PlannedMount, part: &str) -> Result<OwnedFd, Failure> {
    let look = || {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let whole = open(&*plan.source, flags | OFlags::DIRECTORY, Mode::empty())?;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let found = openat2(whole, part, flags, Mode::empty(), how)?;
        mount::view(found, c"", plan.options.recursive)
    };
    look().map_err(|errno| Failure::Part {
        part: part.to_owned(),
        target: plan.target.clone(),
        source: match errno {
            Errno::XDEV => io::Error::other("a symbolic link leads out of the volume"),
            errno => errno.into(),
        },
    })
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
        // Other parts of the file system may be mounted otherwise.
        let apart = late || plan.options.part.is_some();
        for flag in plan
            .options
            .superblock
            .iter()
            .filter(|flag| !(apart && **flag == "ro"))
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
        if plan.options.part.is_some() {
            attributes = MountAttrFlags::empty();
        }
        filesystem.mount(attributes)
    };
    make().map_err(|source| Failure::Mount {
        target: plan.target.clone(),
        source,
    })
}

/// File systems of which parts are mounted, each mounted once. A file system on the host's side may show others below it, which
/// are superblocks of their own under the same source: whoever mounted that a second time could get one of those.
///
/// Linux before 6.15 makes no view of a mount that is attached nowhere, so for that time they are attached in the
/// guest, one over the other, where they hide nothing that other mounts are made of.
#[derive(Debug, Default)]
struct Wholes {
    mounts: Vec<(String, OwnedFd)>,
}

impl Wholes {
    /// A view of what `part` of the file system of `plan` shows.
    fn part(&mut self, plan: &PlannedMount, part: &str) -> Result<OwnedFd, Failure> {
        let step = || format!("cannot mount {part} of {} at {}", plan.source, plan.target);
        let known = self
            .mounts
            .iter()
            .position(|(source, _)| *source == plan.source);
        let index = if let Some(index) = known {
            index
        } else {
            let whole = filesystem(plan)?;
            create_directory(WHOLES).context(step)?;
            mount::attach(&whole, WHOLES).context(step)?;
            self.mounts.push((plan.source.clone(), whole));
            self.mounts.len() - 1
        };
        let view = mount::view(&self.mounts[index].1, part, true).context(step)?;
        // What is mounted below, too.
        mount::set_attributes(&view, plan.options.set, true).context(step)?;
        Ok(view)
    }

    fn detach(self) -> Result<(), Failure> {
        for (source, _) in self.mounts {
            unmount(WHOLES, UnmountFlags::DETACH).context(|| format!("cannot detach {source}"))?;
        }
        Ok(())
    }
}

/// Device nodes are still to be made in /dev, and mount points in what is absent; [`seal`] comes after them.
fn read_only_late(plan: &PlannedMount) -> bool {
    let late = is_dev(&plan.target) || plan.options.absent;
    plan.options.is_read_only() && !plan.options.bind && late
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
        if self.plan.options.absent {
            return self.guard().context(step);
        }
        self.place().context(step)?;
        let place = real(target).context(step)?;
        mount::attach(&self.mount, &place).context(step)?;
        for change in &self.plan.options.propagation {
            mount::set_propagation(&place, *change).context(step)?;
        }
        Ok(())
    }

    /// Keeps what is done with the files of a container that does not run from a place that something is mounted over while it does: it
    /// would be hidden. Nothing is made for it, as it is not known whether that is a file. A file is only not to be written to.
    fn guard(&self) -> io::Result<()> {
        let target = &self.plan.target;
        match fs::metadata(target) {
            Ok(found) if found.is_dir() => Ok(mount::attach(&self.mount, &real(target)?)?),
            Ok(_) => {
                let view = mount::view(CWD, target, false)?;
                mount::set_attributes(&view, self.plan.options.set, false)?;
                Ok(mount::attach(view, &real(target)?)?)
            }
            // A link to nowhere leads to no place either.
            Err(_) => Ok(()),
        }
    }

    fn place(&self) -> io::Result<()> {
        let target = Path::new(&self.plan.target);
        let root = FileType::from_raw_mode(fstat(&self.mount)?.st_mode);
        if root != FileType::Directory {
            if let Some(parent) = target.parent() {
                make_directory(parent)?;
            }
            if target.is_dir() {
                return Err(io::Error::other(
                    "what is to be mounted is a file, and a directory is there",
                ));
            }
            if !target.exists() {
                let mut options = fs::OpenOptions::new();
                options.write(true).create(true).mode(0o644).open(target)?;
            }
            return Ok(());
        }
        if target.exists() && !target.is_dir() {
            return Err(io::Error::other(
                "what is to be mounted is a directory, and a file is there",
            ));
        }
        // Masked paths are named by where proc and sysfs should be, so these must be nowhere else.
        let kernel = matches!(self.plan.kind.as_str(), "proc" | "sysfs");
        if kernel && fs::symlink_metadata(target).is_ok_and(|place| place.is_symlink()) {
            return Err(Errno::LOOP.into());
        }
        make_directory(target)
    }
}

/// Makes the directory that something is to be mounted at, or in.
fn make_directory(path: &Path) -> io::Result<()> {
    create_directory(path).map_err(|error| match in_the_way(path) {
        Some(text) => io::Error::other(text),
        None => error,
    })
}

/// What keeps `path` from being made a directory; nothing where the error says it.
fn in_the_way(path: &Path) -> Option<String> {
    let there = |path: &Path| fs::symlink_metadata(path).ok();
    let (nearest, found) = path
        .ancestors()
        .find_map(|above| Some((above, there(above)?)))?;
    if found.is_symlink() && !nearest.exists() {
        return Some("a link there leads to nothing".to_owned());
    }
    if !nearest.is_dir() {
        return Some(format!("{} is a file", nearest.display()));
    }
    let is_kernel_s = ["/proc", "/sys"]
        .iter()
        .any(|kernel| nearest.starts_with(kernel));
    is_kernel_s.then(|| {
        format!(
            "there is no such file, and none is made in {}",
            nearest.display()
        )
    })
}

/// What the last name of `target` leads to, as the kernel mounts nothing over a link. The root of the calling process is the container's,
/// so that is in there. What is masked and furnished by its name must be in its own place, whatever an image has there.
fn real(target: &str) -> io::Result<String> {
    const OWN: [&str; 4] = ["/", "/dev", "/proc", "/sys"];
    let whole: PathBuf = Path::new(target).components().collect();
    let found = fs::canonicalize(target)?;
    if found != whole
        && OWN
            .iter()
            .any(|own| found == Path::new(own) || whole == Path::new(own))
    {
        let text = format!("a link leads to {}", found.display());
        return Err(io::Error::other(text));
    }
    // Each process needs the devices as they are.
    if found != whole && found.parent() == Some(Path::new("/dev")) && !found.is_dir() {
        let text = format!("a link leads to the device {}", found.display());
        return Err(io::Error::other(text));
    }
    let found = found.into_os_string().into_string();
    found.map_err(|_| io::Error::other("a link leads to a path that is no text"))
}

/// Does what had to wait until the container was furnished.
pub fn seal(plan: &PlannedMount) -> Result<(), Failure> {
    let nowhere = plan.options.absent && !Path::new(&plan.target).is_dir();
    if !read_only_late(plan) || nowhere {
        return Ok(());
    }
    super::masks::make_read_only(&plan.target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_of_a_directory_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        let told = |path: &Path| make_directory(path).unwrap_err().to_string();
        for path in ["file", "file/x/y"] {
            assert!(told(&at(path)).ends_with("file is a file"), "{path}");
        }
        for path in ["link", "link/x"] {
            assert_eq!(told(&at(path)), "a link there leads to nothing", "{path}");
        }
        assert!(told(Path::new("/proc/x/y")).ends_with("none is made in /proc"));
        make_directory(&at("new/er")).unwrap();
        make_directory(&at("new")).unwrap();
    }
}
