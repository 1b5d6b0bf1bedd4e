//! Directories and files of the host in a container.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::container::{Mount, MountKind};
use crate::idmap::{IdMap, IdMapError};
use crate::mount_point::{self, MountPointError};

/// Options of a bind mount that change what can be done through it (`mount(8)`).
const FLAGS: [&str; 10] = [
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "nodev",
    "noatime",
    "nodiratime",
    "relatime",
];
/// Begins the option with a map of owners.
pub const IDMAP: &str = "idmap=";
/// Options that say what is so anyway: mounts below are seen, and none that is made later; labels of the host do not matter to
/// a machine; caches are as coherent as can be.
const NEEDLESS: [&str; 10] = [
    "bind",
    "rbind",
    "private",
    "rprivate",
    "z",
    "Z",
    "cached",
    "consistent",
    "delegated",
    "default",
];

/// Why something of the host cannot be mounted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Where it is to be.
    #[error(transparent)]
    Place(#[from] MountPointError),
    /// No path of the host.
    #[error("a bind mount needs a path of the host as its source")]
    NoSource,
    /// Host and guest have kernels of their own.
    #[error(
        "invalid option '{0}': mounts of the host and of the container do not spread to each other"
    )]
    Propagation(String),
    /// A map of owners.
    #[error(transparent)]
    IdMap(#[from] IdMapError),
    /// podman's change of owners.
    #[error(
        "option U is not available here: idmap= gives files of the host other owners in the container, and changes none"
    )]
    Owners,
    /// An option that such a mount does not have.
    #[error(
        "invalid option '{0}' of a bind mount: ro, rw, exec, noexec, suid, nosuid, nodev and noatime are known"
    )]
    Option(String),
}

/// Why the host has not what is to be mounted.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is not there, or cannot be read.
    #[error("bind mount source {}", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: std::io::Error,
    },
    /// It is neither a directory nor a file nor a socket.
    #[error("bind mount source {}: only directories, files and Unix sockets can be mounted", .0.display())]
    Kind(PathBuf),
    /// Configurations are texts.
    #[error("bind mount source {}: the path is not UTF-8", .0.display())]
    NotText(PathBuf),
}

/// Whether `-v` means the host by `source`, and not a volume.
pub fn is_path(source: &str) -> bool {
    source.starts_with('.') || source.contains('/')
}

/// A mount of the host's `source` at `target`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn mount<'a>(
    source: &str,
    target: &str,
    options: impl IntoIterator<Item = &'a str>,
) -> Result<Mount, BindError> {
    if source.is_empty() || source.contains('\0') {
        return Err(BindError::NoSource);
    }
    let target = mount_point::parse(target)?;
    let mut kept = Vec::new();
    for option in options {
        match option {
            _ if NEEDLESS.contains(&option) => {}
            _ if FLAGS.contains(&option) => kept.push(option.to_owned()),
            // The container's ids are the machine's own.
            "idmap" => {}
            _ if option.starts_with(IDMAP) => {
                option[IDMAP.len()..].parse::<IdMap>()?;
                kept.push(option.to_owned());
            }
            "shared" | "rshared" | "slave" | "rslave" => {
                return Err(BindError::Propagation(option.to_owned()));
            }
            "U" => return Err(BindError::Owners),
            _ => return Err(BindError::Option(option.to_owned())),
        }
    }
    Ok(Mount {
        kind: MountKind::Virtiofs {},
        source: source.to_owned(),
        destination: target,
        options: kept,
    })
}

/// The mount with the source's own path, seen from the directory `current`, if the host has it. Links on the way are followed
/// now, once: a container that writes beside its own sources could put others in their place, and each start will refuse them.
///
/// # Errors When it has not, or it is of a kind that cannot be shared.
pub fn resolve(mount: &mut Mount, current: &Path) -> Result<(), SourceError> {
    if mount.kind != (MountKind::Virtiofs {}) {
        return Ok(());
    }
    let asked = current.join(&mount.source);
    let found = asked.canonicalize().and_then(|path| {
        let status = std::fs::metadata(&path)?;
        Ok((path, status))
    });
    let (path, status) = found.map_err(|source| SourceError::Missing {
        // `.` and double slashes go.
        path: asked.components().collect(),
        source,
    })?;
    if status.file_type().is_socket() {
        mount.kind = MountKind::Socket {};
    } else if !status.is_dir() && !status.is_file() {
        return Err(SourceError::Kind(path));
    }
    mount.source = path
        .into_os_string()
        .into_string()
        .map_err(|path| SourceError::NotText(path.into()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_that_matter() {
        let mount = mount("./a b", "/m", ["z", "ro", "rprivate", "noexec"]).unwrap();
        assert_eq!(mount.options, ["ro", "noexec"]);
        assert!(mount.is_read_only());
        for (options, words) in [
            ("rshared", "do not spread to each other"),
            ("X-mount.subdir=..", "invalid option"),
            ("dev", "invalid option"),
            ("", "invalid option"),
        ] {
            let error = super::mount("/a", "/m", [options]).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn targets_stay_in_the_container() {
        for target in ["", "m", "/", "/a/../..", "/a\0"] {
            assert!(matches!(mount("/a", target, []), Err(BindError::Place(_))));
        }
        assert_eq!(mount("", "/m", []), Err(BindError::NoSource));
    }

    #[test]
    fn sources_are_looked_for_from_where_the_user_is() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        let resolved = |source: &str| {
            let mut mount = mount(source, "/m", []).unwrap();
            resolve(&mut mount, directory.path()).map(|()| mount.source)
        };
        let place = directory.path().canonicalize().unwrap();
        let place = place.to_str().unwrap();
        assert_eq!(resolved(".").unwrap(), place);
        assert_eq!(resolved("./file").unwrap(), format!("{place}/file"));
        assert_eq!(resolved("/").unwrap(), "/");
        std::os::unix::fs::symlink("file", directory.path().join("link")).unwrap();
        assert_eq!(resolved("./link").unwrap(), format!("{place}/file"));
        assert!(matches!(
            resolved("./none"),
            Err(SourceError::Missing { .. })
        ));
        assert!(matches!(resolved("/dev/null"), Err(SourceError::Kind(_))));
        let _listener =
            std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
        let mut socket = mount("./socket", "/m", []).unwrap();
        resolve(&mut socket, directory.path()).unwrap();
        assert_eq!(socket.kind, MountKind::Socket {});
        assert_eq!(socket.source, format!("{place}/socket"));
    }
}
