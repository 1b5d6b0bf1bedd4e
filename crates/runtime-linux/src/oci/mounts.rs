//! File systems of a container, in the order they are mounted.

use container_resource::container::{ContainerConfiguration, MountKind};
use container_resource::share::TAG;
use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder};

use super::SpecError;
use super::process::administers;

/// Bytes of `/dev/shm` unless asked otherwise: Docker's and Apple's 64 MiB.
const SHM_SIZE: u64 = 64 << 20;

/// Those every container has, then the user's, outer before inner.
///
/// A privileged container sees the devices of its machine as they come and go, and may write to sysfs. Its control groups may be
/// written by whoever administers the machine: below the ones that hold its limits.
pub fn mounts(configuration: &ContainerConfiguration) -> Result<Vec<Mount>, SpecError> {
    const STRICT: &[&str] = &["nosuid", "noexec", "nodev"];
    const READ_ONLY: &[&str] = &["nosuid", "noexec", "nodev", "ro"];
    let dev = if configuration.privileged {
        mount("/dev", "devtmpfs", "devtmpfs", &["nosuid"])?
    } else {
        let options = ["nosuid", "strictatime", "mode=755", "size=65536k"];
        mount("/dev", "tmpfs", "tmpfs", &options)?
    };
    let sysfs = if configuration.privileged {
        STRICT
    } else {
        READ_ONLY
    };
    let cgroup: &[&str] = if administers(configuration)? {
        &["nosuid", "noexec", "nodev", "relatime"]
    } else {
        &["nosuid", "noexec", "nodev", "relatime", "ro"]
    };
    let shm = format!("size={}", configuration.shm_size.unwrap_or(SHM_SIZE));
    let mut mounts = vec![
        mount("/proc", "proc", "proc", STRICT)?,
        dev,
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
        mount("/dev/mqueue", "mqueue", "mqueue", STRICT)?,
        mount("/sys", "sysfs", "sysfs", sysfs)?,
        mount("/sys/fs/cgroup", "cgroup2", "cgroup", cgroup)?,
    ];
    let mut shares = 0..;
    let mut own: Vec<_> = configuration
        .mounts
        .iter()
        .map(|mount| {
            let share = matches!(mount.kind, MountKind::Virtiofs {});
            (share.then(|| shares.next()).flatten().unwrap_or(0), mount)
        })
        .collect();
    own.sort_by_key(|(_, mount)| {
        mount
            .destination
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    for (number, entry) in own {
        let given = entry.options.iter().map(String::as_str);
        match &entry.kind {
            MountKind::Tmpfs {} => {
                let options: Vec<_> = ["nosuid", "nodev"].into_iter().chain(given).collect();
                mounts.push(mount(&entry.destination, "tmpfs", "tmpfs", &options)?);
            }
            MountKind::Virtiofs {} => {
                // All shares are in one file system, each under its number.
                let part = format!("X-mount.subdir={number}");
                let options: Vec<_> = ["nodev"].into_iter().chain(given).chain([&*part]).collect();
                mounts.push(mount(&entry.destination, "virtiofs", TAG, &options)?);
            }
            // They need disks of the machine, and are refused when the machine is described.
            MountKind::Volume { .. } => {}
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
    fn who_administers_the_machine_may_divide_its_control_groups() {
        let read_only = |configuration: &ContainerConfiguration, place: &str| {
            let mounts = mounts(configuration).unwrap();
            let mount = mounts
                .iter()
                .find(|mount| mount.destination().as_os_str() == place);
            let options = mount.unwrap().options().clone().unwrap();
            options.iter().any(|option| option == "ro")
        };
        let places = ["/sys", "/sys/fs/cgroup"];
        let mut configuration = crate::oci::tests::configuration();
        let all = |configuration: &_| places.map(|place| read_only(configuration, place));
        assert_eq!(all(&configuration), [true, true]);
        configuration.cap_add = vec!["CAP_SYS_ADMIN".into()];
        assert_eq!(all(&configuration), [true, false]);
        configuration.privileged = true;
        assert_eq!(all(&configuration), [false, false]);
        assert_eq!(
            mounts(&configuration).unwrap()[1].typ().as_deref(),
            Some("devtmpfs")
        );
    }

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
