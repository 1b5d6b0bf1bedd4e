//! File systems in the guest's memory: `--tmpfs <path>[:<options>]`.

use crate::container::{Mount, MountKind};
use crate::mount_point::{self, MountPointError};

/// Options without a value that a tmpfs may have (`mount(8)`).
const FLAGS: [&str; 20] = [
    "defaults",
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "dirsync",
    "sync",
    "async",
];
/// Options with a value (`tmpfs(5)`).
const VALUES: [&str; 6] = ["size", "nr_blocks", "mode", "nr_inodes", "uid", "gid"];
/// What `mount(2)` is given as the source of a file system that has none.
const SOURCE: &str = "tmpfs";

/// Why a text describes no tmpfs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TmpfsError {
    /// Where it is to be.
    #[error(transparent)]
    Place(#[from] MountPointError),
    /// An option that a tmpfs does not have.
    #[error("invalid tmpfs option '{0}'")]
    Option(String),
}

/// A mount of a new, empty file system at an absolute path of the container.
///
/// # Errors
/// When the path is not absolute, climbs with `..`, or an option is unknown.
pub fn parse(text: &str) -> Result<Mount, TmpfsError> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let destination = mount_point::parse(destination)?;
    let options: Vec<String> = options
        .split(',')
        .filter(|option| !option.is_empty())
        .map(str::to_owned)
        .collect();
    check(&options)?;
    Ok(mount(&destination, options))
}

/// Whether a tmpfs may have all of `options`.
///
/// # Errors
/// The first one that it does not have.
pub(crate) fn check(options: &[String]) -> Result<(), TmpfsError> {
    let known = |option: &&String| match option.split_once('=') {
        Some((name, value)) => VALUES.contains(&name) && !value.is_empty(),
        None => FLAGS.contains(&option.as_str()),
    };
    match options.iter().find(|option| !known(option)) {
        Some(unknown) => Err(TmpfsError::Option(unknown.clone())),
        None => Ok(()),
    }
}

/// A new, empty file system in memory at `destination`.
pub(crate) fn mount(destination: &str, options: Vec<String>) -> Mount {
    Mount {
        kind: MountKind::Tmpfs {},
        source: SOURCE.to_owned(),
        destination: destination.to_owned(),
        options,
    }
}

/// Whether `path` is absolute and stays where it says: no `..`, no NUL.
pub(crate) fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_enough() {
        for text in ["/run", "/run:"] {
            let mount = parse(text).unwrap();
            assert_eq!(
                (mount.destination.as_str(), mount.options.len()),
                ("/run", 0)
            );
            assert_eq!(mount.source, "tmpfs");
        }
        assert_eq!(
            parse("/t:size=64m,mode=1777,ro").unwrap().options,
            ["size=64m", "mode=1777", "ro"]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["", "run", "/", "//", "/.", "/a/../..", "/a\0", "/proc"] {
            assert!(matches!(parse(text), Err(TmpfsError::Place(_))), "{text:?}");
        }
        for option in ["size", "size=", "bind", "lowerdir=/"] {
            assert_eq!(
                parse(&format!("/t:{option}")),
                Err(TmpfsError::Option(option.into()))
            );
        }
    }
}
