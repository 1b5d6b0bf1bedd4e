//! A cgroup of version 2 for one VMM (Documentation/admin-guide/cgroup-v2.rst): what it may take of the host's memory, its
//! page cache included, and of its processes. Where the host gives none, [`super::ceilings`] stand alone.
//!
//! A cgroup can be had where this process may write to its own one, as root or by delegation (`Delegate=` of systemd),
//! and that one has the controllers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ceilings::Ceilings;

/// Where the file systems of cgroups are mounted: alone, and beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// What a VMM's cgroup limits.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// Name of the cgroup above those of VMMs.
const PARENT: &str = "container-vmms";

/// A cgroup that is removed when it is dropped, by when the VMM has ended.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one for the VMM that this process owns.
    ///
    /// # Errors
    /// Where there is none to be had, with the reason.
    pub(crate) fn make(ceilings: &Ceilings) -> io::Result<Self> {
        let own = own()?;
        Self::make_in(&own, ceilings)
    }

    fn make_in(own: &Path, ceilings: &Ceilings) -> io::Result<Self> {
        let parent = own.join(PARENT);
        delegate(own)?;
        make_directory(&parent)?;
        delegate(&parent)?;
        let cgroup = Self(parent.join(std::process::id().to_string()));
        make_directory(&cgroup.0)?;
        remove_left(&parent);
        fs::write(cgroup.0.join("memory.max"), ceilings.memory.to_string())?;
        fs::write(cgroup.0.join("pids.max"), ceilings.threads.to_string())?;
        Ok(cgroup)
    }

    /// Puts a process into it.
    pub(crate) fn admit(&self, pid: u32) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            tracing::debug!(%error, "the cgroup {} stays", self.0.display());
        }
    }
}

/// Whether this host gives VMMs a cgroup, for people: what is limited, or why nothing is.
pub(crate) fn describe() -> String {
    match own().and_then(|own| delegate(&own)) {
        Ok(()) => "memory and threads, in a cgroup of its own".to_owned(),
        Err(error) => format!("by the limits of its process alone: {error}"),
    }
}

/// The cgroup of this process in the unified hierarchy.
fn own() -> io::Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.ok_or_else(|| io::Error::other("no cgroup of version 2"))?;
    MOUNTS
        .iter()
        .map(|mount| Path::new(mount).join(path))
        .find(|path| path.join("cgroup.controllers").exists())
        .ok_or_else(|| io::Error::other("cgroups of version 2 are not mounted"))
}

/// Gives the controllers to the cgroups below one.
fn delegate(cgroup: &Path) -> io::Result<()> {
    let available = fs::read_to_string(cgroup.join("cgroup.controllers"))?;
    let missing = |controller: &&&str| {
        !available
            .split_whitespace()
            .any(|name| name == **controller)
    };
    if let Some(controller) = CONTROLLERS.iter().find(missing) {
        return Err(io::Error::other(format!(
            "no controller {controller} to be had"
        )));
    }
    let control = cgroup.join("cgroup.subtree_control");
    let given = fs::read_to_string(&control)?;
    if CONTROLLERS
        .iter()
        .all(|controller| given.split_whitespace().any(|name| name == *controller))
    {
        return Ok(());
    }
    let all: Vec<_> = CONTROLLERS.iter().map(|name| format!("+{name}")).collect();
    fs::write(control, all.join(" "))
}

/// Removes the cgroups of owners that were killed: each has its owner's process id for a name.
fn remove_left(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let is_owner = name
            .to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok());
        if is_owner && !Path::new("/proc").join(&name).exists() {
            // One that is not empty stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings() -> Ceilings {
        Ceilings::new(64 << 20, 1, false, 0)
    }

    /// A directory with the files that a cgroup has.
    fn pretend(controllers: &str, given: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("cgroup.controllers"), controllers).unwrap();
        fs::write(directory.path().join("cgroup.subtree_control"), given).unwrap();
        directory
    }

    #[test]
    fn controllers_are_given_once_and_their_absence_is_told() {
        let cgroup = pretend("cpu memory pids", "");
        delegate(cgroup.path()).unwrap();
        let control = cgroup.path().join("cgroup.subtree_control");
        assert_eq!(fs::read_to_string(&control).unwrap(), "+memory +pids");
        fs::write(&control, "memory pids").unwrap();
        delegate(cgroup.path()).unwrap();
        assert_eq!(fs::read_to_string(&control).unwrap(), "memory pids");
        let error = delegate(pretend("hugetlb", "").path()).unwrap_err();
        assert_eq!(error.to_string(), "no controller memory to be had");
    }

    #[test]
    fn a_host_without_them_gives_none() {
        let cgroup = pretend("hugetlb", "");
        Cgroup::make_in(cgroup.path(), &ceilings()).unwrap_err();
        assert!(!cgroup.path().join(PARENT).exists());
    }
}
