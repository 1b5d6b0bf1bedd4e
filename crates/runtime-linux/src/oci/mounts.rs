//! File systems of a container, in the order they are mounted.

use container_resource::container::{ContainerConfiguration, MountKind};
use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder};

/// Bytes of `/dev/shm` unless asked otherwise: Docker's and Apple's 64 MiB.
const SHM_SIZE: u64 = 64 << 20;

/// Those every container has, then the user's, outer before inner.
pub fn mounts(configuration: &ContainerConfiguration) -> Result<Vec<Mount>, OciSpecError> {
    let shm = format!("size={}", configuration.shm_size.unwrap_or(SHM_SIZE));
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        )?,
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm],
        )?,
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        )?,
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", "ro"],
        )?,
        mount(
            "/sys/fs/cgroup",
            "cgroup2",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        )?,
    ];
    let mut own: Vec<_> = configuration.mounts.iter().collect();
    own.sort_by_key(|mount| {
        mount
            .destination
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    for entry in own {
        // Shares and volumes need devices of the machine; they are refused when the machine is described.
        if entry.kind == (MountKind::Tmpfs {}) {
            let mut options = vec!["nosuid", "nodev"];
            options.extend(entry.options.iter().map(String::as_str));
            mounts.push(mount(&entry.destination, "tmpfs", "tmpfs", &options)?);
        }
    }
    Ok(mounts)
}

fn mount(
    destination: &str,
    kind: &str,
    source: &str,
    options: &[&str],
) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(
            options
                .iter()
                .map(|option| (*option).to_owned())
                .collect::<Vec<_>>(),
        )
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_mounts_come_after_outer_ones() {
        let mut configuration = crate::oci::tests::configuration();
        for destination in ["/a/b/c", "/a", "/a/b"] {
            configuration
                .mounts
                .push(container_resource::container::Mount {
                    kind: MountKind::Tmpfs {},
                    source: String::new(),
                    destination: destination.into(),
                    options: vec!["size=1m".into()],
                });
        }
        let mounts = mounts(&configuration).unwrap();
        let own: Vec<_> = mounts
            .iter()
            .rev()
            .take(3)
            .rev()
            .map(|m| m.destination().display().to_string())
            .collect();
        assert_eq!(own, ["/a", "/a/b", "/a/b/c"]);
    }
}
