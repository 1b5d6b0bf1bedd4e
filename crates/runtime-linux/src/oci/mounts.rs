//! File systems of a container, in the order they are mounted.

use container_api::guest_paths;
use container_resource::bind::IDMAP;
use container_resource::container::{self, ContainerConfiguration, MountKind};
use container_resource::share::{self, Served};
use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder};

use super::SpecError;
use super::process::administers;
use crate::machine::Volume;
use crate::sockets;

/// Bytes of `/dev/shm` unless asked otherwise: Docker's and Apple's 64 MiB.
const SHM_SIZE: u64 = 64 << 20;

/// What every container gets with its start.
const GIVEN: [&str; 3] = ["/dev", "/proc", "/sys"];

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
    let served = share::served(&configuration.mounts)?;
    for entry in by_depth(configuration) {
        let given = entry.options.iter().map(String::as_str);
        match &entry.kind {
            MountKind::Tmpfs {} => {
                let options: Vec<_> = ["nosuid", "nodev"].into_iter().chain(given).collect();
                mounts.push(mount(&entry.destination, "tmpfs", "tmpfs", &options)?);
            }
            MountKind::Virtiofs {} => {
                // A file system holds many, each under its number.
                let (tag, number) = share_place(&served, entry);
                let part = format!("X-mount.subdir={number}");
                let given = given.filter(|option| !option.starts_with(IDMAP));
                let options: Vec<_> = ["nodev"].into_iter().chain(given).chain([&*part]).collect();
                mounts.push(mount(&entry.destination, "virtiofs", tag, &options)?);
            }
            MountKind::Socket {} => {
                let source = sockets::source(configuration, entry);
                let options: Vec<_> = ["bind"].into_iter().chain(given).collect();
                mounts.push(mount(&entry.destination, "bind", &source, &options)?);
            }
            MountKind::Volume { name, .. } => {
                mounts.push(volume(configuration, entry, name)?);
            }
        }
    }
    if let Some(source) = sockets::agent_source(configuration) {
        mounts.push(mount(sockets::AGENT, "bind", &source, &["bind"])?);
    }
    Ok(mounts)
}

/// Those of a container that does not run: its volumes, and guards where something else is while it runs. What is in memory then is empty;
/// what is a share's is not there, and nobody is told otherwise.
pub fn idle(configuration: &ContainerConfiguration) -> Result<Vec<Mount>, OciSpecError> {
    const ABSENT: &[&str] = &["ro", "X-absent"];
    let given = GIVEN.iter();
    let given = given.map(|place| mount(place, "tmpfs", "absent", ABSENT));
    let own = by_depth(configuration).into_iter();
    let own = own.map(|entry| match (&entry.kind, entry.volume()) {
        (_, Some(name)) => volume(configuration, entry, name),
        (MountKind::Tmpfs {}, _) => mount(&entry.destination, "tmpfs", "absent", ABSENT),
        _ => mount(&entry.destination, "ramfs", "absent", ABSENT),
    });
    given.chain(own).collect()
}

/// The user's mounts, outer before inner, whatever the order of the flags.
fn by_depth(configuration: &ContainerConfiguration) -> Vec<&container::Mount> {
    let mut own: Vec<_> = configuration.mounts.iter().collect();
    own.sort_by_key(|mount| {
        let parts = mount.destination.split('/');
        parts.filter(|part| !matches!(*part, "" | ".")).count()
    });
    own
}

/// The file system of `entry`, which is a share, and its number there.
fn share_place<'a>(served: &'a [Served<'_>], entry: &container::Mount) -> (&'a str, usize) {
    let mut places = served.iter().filter_map(|served| {
        let mut mounts = served.mounts.iter();
        let number = mounts.position(|mount| std::ptr::eq(*mount, entry))?;
        Some((&*served.tag, number))
    });
    places.next().unwrap_or((share::TAG, 0))
}

/// A view of what is in the volume `name`: the guest has mounted its disk.
fn volume(
    configuration: &ContainerConfiguration,
    entry: &container::Mount,
    name: &str,
) -> Result<Mount, OciSpecError> {
    let all = Volume::all(configuration);
    let number = all.iter().position(|volume| volume.name == name);
    let disk = Volume::role(number.unwrap_or_default()).serial();
    let part = entry.subpath().map(|path| format!("X-mount.subdir={path}"));
    let read_only = entry.is_read_only().then_some("ro");
    let options: Vec<&str> = ["bind"]
        .into_iter()
        .chain(entry.volume_flags())
        .chain(read_only)
        .chain(part.as_deref())
        .collect();
    let source = guest_paths::volume_data(&disk);
    mount(&entry.destination, "bind", &source, &options)
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
    use container_resource::volume;

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
    fn a_volume_is_a_view_of_its_disk() {
        let mut configuration = crate::oci::tests::configuration();
        for text in ["v:/b/c:ro", "w:/b", "v:/a:nocopy,noexec,rw"] {
            configuration.mounts.push(volume::parse(text).unwrap());
        }
        let part = vec!["volume-subpath=x/y".into(), "ro".into()];
        let part = volume::mount("w", "/z", part).unwrap();
        configuration.mounts.push(part);
        let shown: Vec<_> = idle(&configuration)
            .unwrap()
            .iter()
            .filter(|mount| mount.typ().as_deref() == Some("bind"))
            .map(|mount| {
                let options = mount.options().clone().unwrap_or_default().join(",");
                let source = mount.source().clone().unwrap_or_default();
                format!(
                    "{} {} {options}",
                    mount.destination().display(),
                    source.display()
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "/b /run/volumes/volume-1/data bind",
                "/a /run/volumes/volume-0/data bind,noexec",
                "/z /run/volumes/volume-1/data bind,ro,X-mount.subdir=x/y",
                "/b/c /run/volumes/volume-0/data bind,ro"
            ]
        );
    }

    #[test]
    fn shares_with_other_owners_are_in_a_file_system_of_their_own() {
        let mut configuration = crate::oci::tests::configuration();
        for (target, options) in [
            ("/a", &["ro"][..]),
            ("/a/b", &["idmap=uids=0-5-1", "ro"]),
            ("/c", &[]),
        ] {
            let mount = container_resource::bind::mount("/s", target, options.iter().copied());
            configuration.mounts.push(mount.unwrap());
        }
        let all = mounts(&configuration).unwrap();
        let shares = all
            .iter()
            .filter(|mount| mount.typ().as_deref() == Some("virtiofs"));
        let shown: Vec<_> = shares
            .map(|mount| {
                let options = mount.options().clone().unwrap_or_default().join(",");
                let source = mount.source().clone().unwrap_or_default();
                format!("{} {options}", source.display())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "shares nodev,ro,X-mount.subdir=0",
                "shares nodev,X-mount.subdir=1",
                "shares-0 nodev,ro,X-mount.subdir=0"
            ]
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
