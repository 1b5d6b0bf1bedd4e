//! A cgroup of version 2 for one VMM and the processes that serve it (Documentation/admin-guide/cgroup-v2.rst): what they may take of the
//! host's memory, their page cache included, and of its processes. Where the host gives none, [`super::ceilings`] stand alone.
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
pub(crate) struct Cgroup {
    path: PathBuf,
    /// What its processes may have now.
    allowed: Allowance,
}

/// What processes may take of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Memory, in bytes, page cache included.
    pub memory: u64,
    /// Threads.
    pub threads: u32,
}

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
        let cgroup = Self {
            path: parent.join(std::process::id().to_string()),
            allowed: Allowance {
                memory: ceilings.memory,
                threads: ceilings.threads,
            },
        };
        make_directory(&cgroup.path)?;
        remove_left(&parent);
        cgroup.limit()?;
        Ok(cgroup)
    }

    fn limit(&self) -> io::Result<()> {
        let write = |name: &str, value: u64| fs::write(self.path.join(name), value.to_string());
        write("memory.max", self.allowed.memory)?;
        write("pids.max", self.allowed.threads.into())
    }

    /// Puts a process into it.
    pub(crate) fn admit(&self, pid: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }

    /// Puts the process `pid` and its children into it, which may take `more` than the others do.
    ///
    /// # Errors
    /// Where there is no such process, or the kernel does not tell its children (`CONFIG_PROC_CHILDREN`).
    pub(crate) fn admit_family(&mut self, pid: u32, more: Allowance) -> io::Result<()> {
        self.allowed.memory = self.allowed.memory.saturating_add(more.memory);
        self.allowed.threads = self.allowed.threads.saturating_add(more.threads);
        self.limit()?;
        // First the parent: children that it makes from now on are there, too.
        self.admit(pid)?;
        for child in children(pid)? {
            self.admit(child)?;
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::debug!(%error, "the cgroup {} stays", self.path.display());
        }
    }
}

/// Children of the first thread of `pid` (`proc_pid_task`(5)).
fn children(pid: u32) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let numbers = text.split_ascii_whitespace();
    let numbers = numbers.map(|number| number.parse().map_err(io::Error::other));
    numbers.collect()
}

/// Whether this host gives VMMs a cgroup, for people: what is limited, or why nothing is.
pub(crate) fn describe() -> String {
    match own().and_then(|own| delegate(&own)) {
        Ok(()) => "memory and threads, in a cgroup of its own".to_owned(),
        Err(error) => format!("each process by itself, not a machine as a whole: {error}"),
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
            "there is no cgroup controller `{controller}` to use"
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
        assert_eq!(
            error.to_string(),
            "there is no cgroup controller `memory` to use"
        );
    }

    #[test]
    fn who_serves_a_vmm_is_in_its_cgroup_with_an_allowance() {
        let own = pretend("memory pids", "memory pids");
        let parent = own.path().join(PARENT);
        fs::create_dir(&parent).unwrap();
        for name in ["cgroup.controllers", "cgroup.subtree_control"] {
            fs::write(parent.join(name), "memory pids").unwrap();
        }
        let mut cgroup = Cgroup::make_in(own.path(), &ceilings()).unwrap();
        let path = cgroup.path.clone();
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        let before = ceilings();
        assert_eq!(read("pids.max"), before.threads.to_string());
        // A parent with a child, which is the last that is admitted.
        let mut parent = std::process::Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = String::new();
        let output = parent.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(output), &mut child).unwrap();
        let more = Allowance {
            memory: 1 << 20,
            threads: 3,
        };
        let admitted = cgroup.admit_family(parent.id(), more);
        let _ = std::process::Command::new("kill")
            .arg(child.trim())
            .status();
        parent.wait().unwrap();
        admitted.unwrap();
        assert_eq!(read("cgroup.procs"), child.trim());
        assert_eq!(read("pids.max"), (before.threads + 3).to_string());
        assert_eq!(read("memory.max"), (before.memory + (1 << 20)).to_string());
        cgroup.admit_family(u32::MAX, more).unwrap_err();
    }

    #[test]
    fn a_host_without_them_gives_none() {
        let cgroup = pretend("hugetlb", "");
        Cgroup::make_in(cgroup.path(), &ceilings()).unwrap_err();
        assert!(!cgroup.path().join(PARENT).exists());
    }
}
