//! File systems by which the host's kernel is spoken to: they hold no files, and writing to one changes the host.
//!
//! A guest may look at them, as programs that watch a host do (`-v /proc:/host/proc:ro`), and change nothing through them: not where one is
//! shared, and not where one is mounted below what is shared, as below `/`.

use std::path::Path;

use container_isolation::mountinfo::{self, Mounted};

/// Names of their types (`filesystems`(5)), as `mountinfo` has them.
const KINDS: [&str; 18] = [
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "mqueue",
    "proc",
    "pstore",
    "resctrl",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

fn is_kernel(mounted: &Mounted) -> bool {
    KINDS.contains(&&*mounted.kind)
}

/// Where such file systems are.
#[derive(Debug)]
pub struct KernelMounts(Vec<Mounted>);

impl KernelMounts {
    /// Those of `mounts`, which are all that there are.
    pub fn among(mounts: Vec<Mounted>) -> Self {
        Self(mounts)
    }

    /// The type of the one that `path`, which has no links, is in.
    pub fn around(&self, path: &Path) -> Option<&str> {
        let nearest = mountinfo::around(&self.0, path)?;
        is_kernel(nearest).then_some(&*nearest.kind)
    }

    /// The places of those below `path`, relative to it.
    pub fn below(&self, path: &Path) -> impl Iterator<Item = &Path> {
        let all = self.0.iter().filter(|mounted| is_kernel(mounted));
        let relative = all.filter_map(move |mounted| mounted.place.strip_prefix(path).ok());
        relative.filter(|place| !place.as_os_str().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        23 22 0:5 / /dev rw - devtmpfs udev rw\n\
        24 22 0:21 / /proc rw,nosuid shared:5 master:2 - proc proc rw\n\
        25 22 0:22 / /srv/a\\040b\\134c rw - sysfs sysfs rw\n\
        26 22 0:30 / /procedures rw - ext4 /dev/sdb rw\n\
        27 24 0:31 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw\n\
        28 22 0:5 / /dev rw - tmpfs over rw\n";

    fn mounts() -> KernelMounts {
        KernelMounts::among(mountinfo::parse(TABLE.as_bytes()))
    }

    #[test]
    fn what_is_in_one_is_told() {
        let mounts = mounts();
        let around = |path: &str| mounts.around(Path::new(path)).map(ToOwned::to_owned);
        for (path, kind) in [
            ("/", None),
            ("/proc", Some("proc")),
            ("/proc/sys/kernel", Some("proc")),
            ("/proc/sys/fs/binfmt_misc/register", Some("binfmt_misc")),
            ("/procedures/x", None),
            ("/srv/a b\\c/kernel", Some("sysfs")),
            ("/srv", None),
            // Something else was mounted over it.
            ("/dev/x", None),
        ] {
            assert_eq!(around(path).as_deref(), kind, "{path}");
        }
    }

    #[test]
    fn those_below_are_found() {
        let mounts = mounts();
        let below = |path: &str| {
            mounts
                .below(Path::new(path))
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(below("/srv"), ["a b\\c"]);
        assert_eq!(below("/proc"), ["sys/fs/binfmt_misc"]);
        assert_eq!(below("/procedures"), [""; 0]);
        assert_eq!(below("/").len(), 4);
    }

    #[test]
    fn this_host_has_proc() {
        let mounts = KernelMounts::among(mountinfo::read().unwrap());
        assert_eq!(mounts.around(Path::new("/proc/self")), Some("proc"));
    }
}
