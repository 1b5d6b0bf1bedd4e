//! The container's control group (cgroup v2): `/container/<id>`.

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
pub fn delegate_controllers(group: &str) -> io::Result<()> {
    let controllers = fs::read_to_string(format!("{group}/cgroup.controllers"))?;
    let enable: Vec<String> = controllers
        .split_whitespace()
        .map(|name| format!("+{name}"))
        .collect();
    fs::write(format!("{group}/cgroup.subtree_control"), enable.join(" "))
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
    directory: OwnedFd,
}

impl Cgroup {
    /// Creates `/container/<id>`.
    pub fn create(id: &str) -> io::Result<Self> {
        let path = Path::new(&parent()).join(id);
        fs::create_dir(&path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(&path, flags, Mode::empty())?;
        Ok(Self { path, directory })
    }

    /// Removes the group, in which nothing runs any more.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir(&self.path)
    }

    /// Directory of the group in which the process `pid` is.
    pub fn directory_of(pid: Pid) -> io::Result<OwnedFd> {
        let membership = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()))?;
        let path = membership.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(open(format!("{ROOT}{path}"), flags, Mode::empty())?)
    }

    /// Writes one setting; the error names the file.
    pub fn set(&self, setting: &Setting) -> io::Result<()> {
        fs::write(self.path.join(&setting.file), &setting.value)
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
