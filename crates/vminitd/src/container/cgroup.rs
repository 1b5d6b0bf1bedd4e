//! The container's control group (cgroup v2): `/container/<id>`.
//!
//! A container that may divide its group gets one below, `payload`, as the root of its control group namespace. What it writes
//! there changes nothing of the limits, which are in the group above and beyond its sight; they are in `payload` as well, for
//! programs that read them. Its first process lives one level deeper, in `init.scope`, as no group that hands controllers to others
//! may have processes of its own ("no internal processes", cgroup-v2.rst): so whoever comes first can divide the root. The name is
//! the one that systemd looks for and gives to its own.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use rustix::process::Pid;

use super::device_filter;
pub use super::device_filter::usual as usual_devices;
use super::limits::Setting;
use crate::spec::DeviceRule;

/// Mount point of the hierarchy in the guest.
pub const ROOT: &str = "/sys/fs/cgroup";

/// The group above the container's.
pub fn parent() -> String {
    format!("{ROOT}/container")
}

/// Makes every controller that `group` has available to its children.
pub fn delegate_controllers(group: impl AsRef<Path>) -> io::Result<()> {
    let group = group.as_ref();
    let controllers = fs::read_to_string(group.join("cgroup.controllers"))?;
    let enable: Vec<String> = controllers
        .split_whitespace()
        .map(|name| format!("+{name}"))
        .collect();
    fs::write(group.join("cgroup.subtree_control"), enable.join(" "))
}

/// Attaches a device filter to `group`. Groups below it may have another one instead.
pub fn restrict_devices(group: impl AsRef<Path>, rules: &[DeviceRule]) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    device_filter::attach(&open(group.as_ref(), flags, Mode::empty())?, rules)
}

/// A control group that exists.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// The root of the container's namespace, where that is not `path`.
    payload: Option<PathBuf>,
    /// Where further processes begin.
    directory: OwnedFd,
}

/// The root of the namespace of a container that may divide its group.
const PAYLOAD: &str = "payload";
/// The group of its first process.
const INIT: &str = "init.scope";
/// What the names of groups of single processes begin with.
const APART: &str = "apart-";
/// Levels of groups below the container's that are removed with it.
const DEPTH_MAX: usize = 64;

impl Cgroup {
    /// Creates `/container/<id>`, which the container may divide where it is `divisible`.
    pub fn create(id: &str, divisible: bool) -> io::Result<Self> {
        let path = Path::new(&parent()).join(id);
        fs::create_dir(&path)?;
        let mut payload = None;
        let mut inner = path.clone();
        if divisible {
            delegate_controllers(&path)?;
            inner.push(PAYLOAD);
            payload = Some(inner.clone());
            inner.push(INIT);
            fs::create_dir_all(&inner)?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(&inner, flags, Mode::empty())?;
        Ok(Self {
            path,
            payload,
            directory,
        })
    }

    /// Removes the group and what the container has made below it. Nothing runs in it any more.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.path, DEPTH_MAX)
    }

    /// The group in which the first process makes its namespace, whose root that is.
    pub fn birthplace(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(open(self.root(), flags, Mode::empty())?)
    }

    /// Where the first process goes when it has made its namespace, if that is elsewhere. To be called by that process.
    pub fn leave_birthplace(&self) -> io::Result<()> {
        match &self.payload {
            Some(payload) => fs::write(payload.join(INIT).join("cgroup.procs"), "0"),
            None => Ok(()),
        }
    }

    /// The group that the process `id` has of its own, where it was started apart from the others. Beyond the container's
    /// sight, if that may divide its group, and under its limits.
    pub fn apart(&self, id: &str) -> Apart {
        Apart(self.path.join(format!("{APART}{id}")))
    }

    fn root(&self) -> &Path {
        self.payload.as_ref().unwrap_or(&self.path)
    }

    /// Directory of the group in which the process `pid` is.
    pub fn directory_of(pid: Pid) -> io::Result<OwnedFd> {
        let membership = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()))?;
        let path = membership.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(open(format!("{ROOT}{path}"), flags, Mode::empty())?)
    }

    /// Writes one setting.
    pub fn set(&self, setting: &Setting) -> io::Result<()> {
        fs::write(self.path.join(&setting.file), &setting.value)?;
        match &self.payload {
            Some(payload) => fs::write(payload.join(&setting.file), &setting.value),
            None => Ok(()),
        }
    }

    /// Writes what a file of the group holds already, and that of the namespace's root: a limit that is written anew has no debt.
    pub fn renew(&self, file: &str) -> io::Result<()> {
        for group in [Some(&self.path), self.payload.as_ref()]
            .into_iter()
            .flatten()
        {
            let file = group.join(file);
            fs::write(&file, fs::read_to_string(&file)?.trim())?;
        }
        Ok(())
    }

    /// Lets only what `rules` allow be opened or made as a device node.
    pub fn restrict_devices(&self, rules: &[DeviceRule]) -> io::Result<()> {
        if device_filter::are_usual(rules) {
            // The parent's filter says the same.
            return Ok(());
        }
        restrict_devices(&self.path, rules)
    }

    /// Directory of the group, as clone3 and openat want it.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The group's directory in the guest.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Content of one of the group's files; empty when there is none.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap_or_default()
    }

    /// Gives up memory of about `bytes`: here pages of files, as there is no swap.
    pub fn reclaim(&self, bytes: u64) -> io::Result<()> {
        fs::write(self.path.join("memory.reclaim"), bytes.to_string())
    }

    /// Kills every process of the group and of those below it.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// Asks the kernel to freeze or thaw; [`Cgroup::is_frozen`] tells when it has.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        fs::write(
            self.path.join("cgroup.freeze"),
            if frozen { "1" } else { "0" },
        )
    }

    /// Whether the group was asked to freeze, though it may not stand still yet.
    pub fn is_to_be_frozen(&self) -> bool {
        self.read("cgroup.freeze").trim() == "1"
    }

    /// Whether every process of the group stands still.
    pub fn is_frozen(&self) -> bool {
        field(&self.read("cgroup.events"), "frozen") == Some(1)
    }

    /// Processes that the kernel has killed for lack of memory.
    pub fn oom_kills(&self) -> u64 {
        field(&self.read("memory.events"), "oom_kill").unwrap_or_default()
    }
}

/// A group of one process and what it starts.
#[derive(Debug)]
pub struct Apart(PathBuf);

impl Apart {
    /// Creates it, and opens its directory. Others that have become empty are removed.
    pub fn create(&self) -> io::Result<OwnedFd> {
        let siblings = self.0.parent().map(fs::read_dir).transpose()?;
        for sibling in siblings.into_iter().flatten().flatten() {
            if sibling
                .file_name()
                .as_encoded_bytes()
                .starts_with(APART.as_bytes())
            {
                // One that is in use stays.
                let _ = fs::remove_dir(sibling.path());
            }
        }
        fs::create_dir(&self.0)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(open(&self.0, flags, Mode::empty())?)
    }

    /// Kills every process in it. Whether it exists at all.
    pub fn kill(&self) -> bool {
        fs::write(self.0.join("cgroup.kill"), "1").is_ok()
    }

    /// Removes it, unless something runs in it still.
    pub fn remove(&self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Removes `group` and those below it, the deepest first.
fn remove(group: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if depth > 0 && entry.file_type()?.is_dir() {
            remove(&entry.path(), depth - 1)?;
        }
    }
    fs::remove_dir(group)
}

/// Value of `key` in a flat keyed file ("key value" lines).
pub fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(field(events, "oom"), Some(3));
        assert_eq!(field(events, "oom_kill"), Some(2));
        assert_eq!(field(events, "kill"), None);
        assert_eq!(field("", "oom"), None);
    }
}
