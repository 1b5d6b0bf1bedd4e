//! File systems in the guest's memory: `--tmpfs <path>[:<options>]`.

use crate::container::{Mount, MountKind};
use crate::mount_point::{self, MountPointError};
use crate::size;

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
/// Options of docker and podman that say how it is here anyway: nothing is copied into it, nothing spreads from it, and it has no label.
const ANYWAY: [&str; 5] = ["notmpcopyup", "private", "rprivate", "z", "Z"];
/// What `mount(2)` is given as the source of a file system that has none.
const SOURCE: &str = "tmpfs";

/// Why a text describes no tmpfs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TmpfsError {
    /// Where it is to be.
    #[error(transparent)]
    Place(#[from] MountPointError),
    /// An option that a tmpfs does not have.
    #[error(
        "invalid tmpfs option '{0}': size, mode, uid, gid, nr_blocks, nr_inodes, ro, rw, exec, noexec, suid, nosuid, dev, nodev, sync, async, and those of access times are known"
    )]
    Option(String),
    /// podman's: what the image has there.
    #[error(
        "option {0} is not available here: a tmpfs begins empty; an empty volume gets what the image has in its place"
    )]
    Filled(String),
    /// podman's: it becomes the container's user's.
    #[error("option {0} is not available here: uid= and gid= say whose a tmpfs is")]
    Owner(String),
    /// A value that its option cannot have.
    #[error("invalid value for {option}: '{value}'")]
    Value {
        /// Its name.
        option: String,
        /// The text behind the `=`.
        value: String,
    },
}

/// A mount of a new, empty file system at an absolute path of the container.
///
/// # Errors
/// When the path is not absolute, climbs with `..`, or an option is unknown.
pub fn parse(text: &str) -> Result<Mount, TmpfsError> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let destination = mount_point::parse(destination)?;
    let given = options.split(',').filter(|option| !option.is_empty());
    mount(&destination, given)
}

/// An option as the kernel takes it; nothing where that is how it is anyway.
///
/// # Errors
/// When a tmpfs does not have it, or not with this value.
fn option(text: &str) -> Result<Option<String>, TmpfsError> {
    let Some((name, value)) = text.split_once('=') else {
        return match text {
            "tmpcopyup" => Err(TmpfsError::Filled(text.to_owned())),
            "U" => Err(TmpfsError::Owner(text.to_owned())),
            text if ANYWAY.contains(&text) => Ok(None),
            text if FLAGS.contains(&text) => Ok(Some(text.to_owned())),
            text => Err(TmpfsError::Option(text.to_owned())),
        };
    };
    let wrong = || TmpfsError::Value {
        option: name.to_owned(),
        value: value.to_owned(),
    };
    let number = |radix, most| {
        let number = u32::from_str_radix(value, radix).ok();
        // No sign.
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        number.filter(|number| digits && *number <= most)
    };
    let known = match name {
        "size" => match value.strip_suffix('%') {
            Some(percent) => percent
                .parse::<u8>()
                .is_ok_and(|percent| percent <= 100)
                .then(|| value.to_owned()),
            None => size::parse(value).ok().map(|bytes| bytes.to_string()),
        },
        "nr_blocks" | "nr_inodes" => size::parse(value).ok().map(|count| count.to_string()),
        "mode" => number(8, 0o7777).map(|_| value.to_owned()),
        // The last one means none.
        "uid" | "gid" => number(10, u32::MAX - 1).map(|_| value.to_owned()),
        _ => return Err(TmpfsError::Option(text.to_owned())),
    };
    let value = known.ok_or_else(wrong)?;
    Ok(Some(format!("{name}={value}")))
}

/// A new, empty file system in memory at `destination`.
///
/// # Errors
/// For the first of `options` that a tmpfs does not have, or not with its value.
pub(crate) fn mount<'a>(
    destination: &str,
    options: impl Iterator<Item = &'a str>,
) -> Result<Mount, TmpfsError> {
    let options = options.filter_map(|text| option(text).transpose());
    Ok(Mount {
        kind: MountKind::Tmpfs {},
        source: SOURCE.to_owned(),
        destination: destination.to_owned(),
        options: options.collect::<Result<_, _>>()?,
    })
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
            ["size=67108864", "mode=1777", "ro"]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["", "run", "/", "//", "/.", "/a/../..", "/a\0", "/proc"] {
            assert!(matches!(parse(text), Err(TmpfsError::Place(_))), "{text:?}");
        }
        for option in [
            "size=",
            "size=abc",
            "size=-1",
            "size=101%",
            "size=x%",
            "mode=9",
            "mode=+7",
            "mode=17777",
            "uid=abc",
            "gid=-1",
            "uid=4294967295",
            "nr_inodes=x",
            "size=1m:ro",
        ] {
            let error = parse(&format!("/t:{option}")).unwrap_err();
            assert!(
                matches!(error, TmpfsError::Value { .. }),
                "{option}: {error}"
            );
        }
        for option in [
            "size=50%",
            "size=1.5g",
            "size=10mb",
            "uid=0",
            "nr_inodes=1k",
            "mode=0755",
        ] {
            assert!(parse(&format!("/t:{option}")).is_ok(), "{option}");
        }
        let anyway = parse("/t:rw,notmpcopyup,rprivate,Z").unwrap();
        assert_eq!(anyway.options, ["rw"]);
        for option in ["tmpcopyup", "U"] {
            let error = parse(&format!("/t:{option}")).unwrap_err().to_string();
            assert!(error.contains("is not available here"), "{error}");
        }
        for option in ["size", "bind", "lowerdir=/"] {
            assert_eq!(
                parse(&format!("/t:{option}")),
                Err(TmpfsError::Option(option.into()))
            );
        }
    }
}
