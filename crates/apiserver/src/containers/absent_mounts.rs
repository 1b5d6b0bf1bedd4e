//! Places of a container that are there only while it runs: what it has of the host's, and memory. A machine for the files of one that does not
//! run has its disks alone, and what would be copied to such a place would be hidden there.

use std::path::Path;

use container_api::{Error, Kind};
use container_archive::operation::Operation;
use container_resource::container::{ContainerConfiguration, Mount};

/// Whether `operation` has to do with such a place.
///
/// # Errors
/// [`Kind::InvalidState`] where it has.
pub fn check(configuration: &ContainerConfiguration, operation: &Operation) -> Result<(), Error> {
    for path in operation.paths() {
        let Some(mount) = around(&configuration.mounts, path) else {
            continue;
        };
        if mount.volume().is_some() {
            continue;
        }
        let id = &configuration.id;
        let text = format!(
            "{} is not there while container {id} does not run: something is mounted at {}",
            path.display(),
            mount.destination
        );
        let hint = if mount.is_shared() {
            format!(
                "Copy on this host, where it is {}, or start the container.",
                mount.source
            )
        } else {
            "Start the container.".to_owned()
        };
        return Err(Error::new(Kind::InvalidState, text).with_hint(hint));
    }
    Ok(())
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
    use container_resource::container::MountKind;

    use super::*;

    #[test]
    fn the_nearest_mount_decides() {
        let volume = MountKind::Volume {
            name: "v".into(),
            format: "ext4".into(),
        };
        let mounts = [
            ("/bind", MountKind::Virtiofs {}),
            ("/bind/volume", volume),
            ("/memory", MountKind::Tmpfs {}),
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
        for path in ["/", "/binder/x", "/bind/volume", "/bind/volume/x"] {
            read(path).unwrap();
        }
        for path in ["/bind", "/bind/x", "/bind/volumes", "/memory/x"] {
            assert_eq!(read(path).unwrap_err().kind, Kind::InvalidState, "{path}");
        }
        let both = Operation::Copy {
            from: "/etc".into(),
            to: "/bind/x".into(),
        };
        let error = check(&configuration, &both).unwrap_err();
        assert_eq!(
            error.message(),
            "/bind/x is not there while container q does not run: something is mounted at /bind"
        );
        check(&configuration, &Operation::Export { still: true }).unwrap();
    }
}
