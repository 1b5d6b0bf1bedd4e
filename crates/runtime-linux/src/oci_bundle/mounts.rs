//! Mounts of the container: file systems of the guest as they stand, directories and files of the host as shares.

use std::path::Path;

use container_resource::container::{self, MountKind};
use container_resource::share::TAG;
use oci_spec::runtime::Mount;
use serde_json::{Value, json};

use super::ConfigError;

/// File systems that the guest's kernel makes by itself; whether it has one is its word when it is mounted.
const OWN: [&str; 15] = [
    "proc",
    "sysfs",
    "tmpfs",
    "ramfs",
    "devpts",
    "mqueue",
    "cgroup",
    "cgroup2",
    "hugetlbfs",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
    "fusectl",
    "binfmt_misc",
];

/// Options of a bind mount that make it one, or say what a share is anyway: its mounts spread nowhere.
const IMPLIED: [&str; 7] = [
    "bind", "rbind", "private", "rprivate", "rw", "dev", "defaults",
];

/// Options of a bind mount that the guest carries out on a share.
const KEPT: [&str; 14] = [
    "ro",
    "nosuid",
    "suid",
    "nodev",
    "noexec",
    "exec",
    "noatime",
    "relatime",
    "strictatime",
    "atime",
    "nodiratime",
    "diratime",
    "nosymfollow",
    "symfollow",
];

/// The mounts as the guest makes them, and the shares among them as the machine has them.
#[derive(Debug, Default)]
pub struct Mounts {
    /// For the guest's specification.
    pub spec: Vec<Value>,
    /// In the order of their numbers.
    pub shares: Vec<Shared>,
}

/// A file or directory of the host that the container sees.
#[derive(Debug)]
pub struct Shared {
    /// As the machine has it.
    pub mount: container::Mount,
    /// What is mounted below it is not to be seen.
    pub alone: bool,
}

impl Mounts {
    /// Translates `asked`; relative sources are meant from `bundle`.
    ///
    /// # Errors
    /// Where a mount needs what a machine does not have.
    pub fn translate(asked: &[Mount], bundle: &Path) -> Result<Self, ConfigError> {
        let mut mounts = Self::default();
        for mount in asked {
            let options: Vec<&str> = mount
                .options()
                .iter()
                .flatten()
                .map(String::as_str)
                .collect();
            let kind = mount.typ().as_deref().unwrap_or_default();
            let is_bind = kind == "bind" || options.iter().any(|o| matches!(*o, "bind" | "rbind"));
            if is_bind {
                mounts.share(mount, &options, bundle)?;
            } else if OWN.contains(&kind) {
                let source = mount.source().as_deref().unwrap_or(Path::new(kind));
                mounts.spec.push(json!({
                    "destination": mount.destination(),
                    "type": kind,
                    "source": source,
                    "options": options,
                }));
            } else {
                return Err(refused(
                    mount,
                    "a machine mounts its own file systems, and directories of the host by `bind`",
                ));
            }
        }
        Ok(mounts)
    }

    fn share(&mut self, mount: &Mount, options: &[&str], bundle: &Path) -> Result<(), ConfigError> {
        let source = mount
            .source()
            .as_deref()
            .filter(|path| !path.as_os_str().is_empty());
        let source = source.ok_or_else(|| refused(mount, "a bind mount needs a source"))?;
        let source = bundle.join(source);
        let source = source
            .to_str()
            .ok_or_else(|| refused(mount, "the source is not UTF-8"))?;
        if options
            .iter()
            .any(|o| o.contains("shared") || o.contains("slave"))
        {
            return Err(refused(
                mount,
                "mounts of the host and of a machine do not spread to each other",
            ));
        }
        let known = |option: &&&str| IMPLIED.contains(option) || KEPT.contains(option);
        if options.iter().any(|option| !known(&option)) {
            return Err(refused(mount, "a share does not take one of its options"));
        }
        // The last word counts.
        let access = options
            .iter()
            .rev()
            .find(|option| matches!(**option, "ro" | "rw"));
        let read_only = access.is_some_and(|access| *access == "ro");
        let kept = options
            .iter()
            .filter(|option| KEPT.contains(option) && **option != "ro");
        let mut kept: Vec<String> = kept.map(|option| (*option).to_owned()).collect();
        if read_only {
            kept.push("ro".to_owned());
        }
        let mut guest = kept.clone();
        // All shares are in one file system, each under its number; it has no devices.
        guest.push("nodev".to_owned());
        guest.push(format!("X-mount.subdir={}", self.shares.len()));
        self.spec.push(json!({
            "destination": mount.destination(),
            "type": "virtiofs",
            "source": TAG,
            "options": guest,
        }));
        self.shares.push(Shared {
            mount: container::Mount {
                kind: MountKind::Virtiofs {},
                source: source.to_owned(),
                destination: mount.destination().display().to_string(),
                options: kept,
            },
            alone: !options.contains(&"rbind"),
        });
        Ok(())
    }
}

fn refused(mount: &Mount, reason: &'static str) -> ConfigError {
    ConfigError::unsupported(format!("mounts: {}", mount.destination().display()), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translate(asked: Value) -> Result<Mounts, String> {
        let asked: Vec<Mount> = serde_json::from_value(asked).unwrap();
        Mounts::translate(&asked, Path::new("/bundle")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_guests_own_file_systems_stand() {
        let asked = json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "nosuid"]},
        ]);
        let made = translate(asked).unwrap();
        assert_eq!(made.spec[1]["options"], json!(["size=1m", "nosuid"]));
        assert!(made.shares.is_empty());
    }

    #[test]
    fn bind_mounts_are_shares_in_order() {
        let asked = json!([
            {"destination": "/a", "type": "bind", "source": "/srv/a", "options": ["rbind", "ro", "noexec"]},
            {"destination": "/p", "type": "proc", "source": "proc"},
            {"destination": "/b", "type": "none", "source": "b", "options": ["bind", "rprivate", "ro", "rw"]},
        ]);
        let made = translate(asked).unwrap();
        assert_eq!(
            made.spec[0]["options"],
            json!(["noexec", "ro", "nodev", "X-mount.subdir=0"])
        );
        assert_eq!(
            made.spec[2]["options"],
            json!(["nodev", "X-mount.subdir=1"])
        );
        let shown: Vec<_> = made
            .shares
            .iter()
            .map(|share| {
                (
                    share.mount.source.as_str(),
                    share.mount.is_read_only(),
                    share.alone,
                )
            })
            .collect();
        assert_eq!(shown, [("/srv/a", true, false), ("/bundle/b", false, true)]);
    }

    #[test]
    fn what_a_machine_cannot_mount_is_refused() {
        for (mount, expected) in [
            (
                json!({"type": "ext4", "source": "/dev/sda1"}),
                "its own file systems",
            ),
            (
                json!({"type": "bind", "source": "/x", "options": ["rslave"]}),
                "do not spread",
            ),
            (
                json!({"type": "bind", "source": "/x", "options": ["idmap"]}),
                "one of its options",
            ),
            (json!({"type": "bind"}), "needs a source"),
        ] {
            let mut mount = mount;
            mount["destination"] = json!("/m");
            let error = translate(json!([mount])).unwrap_err();
            assert!(
                error.contains("`mounts: /m`") && error.contains(expected),
                "{error}"
            );
        }
    }
}
