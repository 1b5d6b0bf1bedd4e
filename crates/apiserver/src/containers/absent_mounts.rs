//! Places of a container that are there only while it runs: what it has of the host's, memory, and what the kernel shows. A machine for the files
//! of one that does not run has its disks alone, and what would be copied to such a place would be hidden there.

use std::path::{Path, PathBuf};

use container_api::{Error, Kind};
use container_archive::operation::Operation;
use container_resource::container::{ContainerConfiguration, Mount};

/// What every container gets with its start.
const GIVEN: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Files that each start writes anew.
const WRITTEN: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// Whether `operation` has to do with such a place.
///
/// # Errors
/// [`Kind::InvalidState`] where it has.
pub fn check(configuration: &ContainerConfiguration, operation: &Operation) -> Result<(), Error> {
    let id = &configuration.id;
    for path in operation.paths() {
        if let Some(given) = GIVEN.iter().find(|given| path.starts_with(given)) {
            return Err(absent(id, path, given, "Start the container."));
        }
        let Some(mount) = around(&configuration.mounts, path) else {
            continue;
        };
        if mount.volume().is_some() {
            continue;
        }
        return Err(absent(id, path, &mount.destination, &hint(mount)));
    }
    if let Some((path, mount)) = beneath(&configuration.mounts, operation) {
        let text = format!(
            "what is mounted at {} is not there while container {id} does not run, and is beneath {}",
            mount.destination,
            path.display()
        );
        return Err(Error::new(Kind::InvalidState, text).with_hint(hint(mount)));
    }
    let lost = |path: &PathBuf| WRITTEN.iter().any(|file| path == Path::new(file));
    if let Some(path) = target(operation).into_iter().find(lost) {
        let text = format!("{} is written anew by each start", path.display());
        let hint = "Start the container first; or see --add-host, --dns and --hostname of `container create`.";
        return Err(Error::new(Kind::InvalidState, text).with_hint(hint));
    }
    Ok(())
}

fn absent(id: &str, path: &Path, mounted: &str, hint: &str) -> Error {
    let text = format!(
        "{} is not there while container {id} does not run: something is mounted at {mounted}",
        path.display()
    );
    Error::new(Kind::InvalidState, text).with_hint(hint)
}

fn hint(mount: &Mount) -> String {
    if mount.is_shared() {
        let source = &mount.source;
        format!("Copy on this host, where it is {source}, or start the container.")
    } else {
        "Start the container.".to_owned()
    }
}

/// A mount beneath what `operation` reads or writes whole. What was in memory is gone, so nothing is missing where that is read. A tar
/// that is unpacked in the root may be for anywhere.
fn beneath<'a>(mounts: &'a [Mount], operation: &Operation) -> Option<(PathBuf, &'a Mount)> {
    let inside = |path: &Path, mount: &&Mount| {
        let place = Path::new(&mount.destination);
        mount.volume().is_none() && place != path && place.starts_with(path)
    };
    if let Operation::Read { path } | Operation::Copy { from: path, .. } = operation {
        let shared = |mount: &&Mount| mount.is_shared() && inside(path, mount);
        if let Some(mount) = mounts.iter().find(shared) {
            return Some((path.clone(), mount));
        }
    }
    let path = target(operation).into_iter().next()?;
    let hidden = |mount: &&Mount| {
        Path::new(&mount.destination).starts_with(&path) && mount.volume().is_none()
    };
    let found = mounts
        .iter()
        .find(hidden)
        .filter(|_| path != Path::new("/"));
    found.map(|mount| (path, mount))
}

/// Where the tree comes to be that `operation` writes, if its place is a directory; and that place, as it may be none.
fn target(operation: &Operation) -> Vec<PathBuf> {
    match operation {
        Operation::Write { path, name, .. } => match name {
            Some(name) => vec![path.join(name), path.clone()],
            None => vec![path.clone()],
        },
        Operation::Copy { from, to, .. } => match from.file_name() {
            Some(name) => vec![to.join(name), to.clone()],
            None => vec![to.clone()],
        },
        Operation::Extract { path } => vec![path.clone()],
        _ => Vec::new(),
    }
}

/// The mount that `path` is in.
fn around<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let around = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.destination));
    around.max_by_key(|mount| Path::new(&mount.destination).components().count())
}

#[cfg(test)]
mod tests {
    use container_archive::operation::Kept;
    use container_resource::container::{CacheMode, MountKind, SyncMode};

    use super::*;

    #[test]
    fn the_nearest_mount_decides() {
        let volume = MountKind::Volume {
            name: "v".into(),
            format: "ext4".into(),
            anonymous: false,
            cache: CacheMode::default(),
            sync: SyncMode::default(),
        };
        let mounts = [
            ("/bind", MountKind::Virtiofs {}),
            ("/bind/volume", volume),
            ("/memory", MountKind::Tmpfs {}),
            ("/deep/memory/inside", MountKind::Tmpfs {}),
            ("/deep/bind", MountKind::Virtiofs {}),
        ];
        let mounts = mounts.map(|(destination, kind)| Mount {
            kind,
            source: "/srv".into(),
            destination: destination.into(),
            options: Vec::new(),
        });
        let configuration = ContainerConfiguration {
            id: "q".into(),
            mounts: mounts.into(),
            ..ContainerConfiguration::default()
        };
        let read = |path: &str| check(&configuration, &Operation::Read { path: path.into() });
        for path in [
            "/binder/x",
            "/bind/volume",
            "/bind/volume/x",
            "/etc/hosts",
            "/deep/memory",
            "/process",
        ] {
            read(path).unwrap();
        }
        for path in [
            "/",
            "/deep",
            "/bind",
            "/bind/x",
            "/bind/volumes",
            "/memory/x",
            "/proc/version",
            "/sys",
            "/dev/shm/x",
        ] {
            assert_eq!(read(path).unwrap_err().kind, Kind::InvalidState, "{path}");
        }
        let both = Operation::Copy {
            from: "/etc".into(),
            to: "/bind/x".into(),
            top: false,
        };
        let error = check(&configuration, &both).unwrap_err();
        assert_eq!(
            error.message(),
            "/bind/x is not there while container q does not run: something is mounted at /bind"
        );
        check(&configuration, &Operation::Export { still: true }).unwrap();
        let write = |path: &str, name: Option<&str>| {
            let operation = Operation::Write {
                path: path.into(),
                name: name.map(Into::into),
                kept: Kept::Nothing,
            };
            check(&configuration, &operation)
        };
        // A file or a tree that comes beside the mounts.
        for (path, name) in [
            ("/", Some("f")),
            ("/deep", Some("f")),
            ("/etc", Some("f")),
            ("/", None),
            ("/x", None),
        ] {
            write(path, name).unwrap();
        }
        for (path, name) in [
            ("/", Some("deep")),
            ("/deep", None),
            ("/deep", Some("bind")),
            ("/deep", Some("memory")),
            ("/etc", Some("hosts")),
            ("/etc/hosts", Some("mine")),
            ("/dev", Some("f")),
        ] {
            let error = write(path, name).unwrap_err();
            assert_eq!(error.kind, Kind::InvalidState, "{path} {name:?}");
        }
        let error = write("/", Some("deep")).unwrap_err();
        assert_eq!(
            error.message(),
            "what is mounted at /deep/memory/inside is not there while container q does not run, and is beneath /deep"
        );
        let extract = |path: &str| check(&configuration, &Operation::Extract { path: path.into() });
        extract("/").unwrap();
        assert!(extract("/deep").is_err() && extract("/proc").is_err());
    }
}
