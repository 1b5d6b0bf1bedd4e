//! Where something can be mounted in a container.

use crate::tmpfs;

/// Why nothing can be mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountPointError {
    /// Not an absolute path below the root, or one that climbs with `..`.
    #[error("invalid mount point '{0}': an absolute path below / is expected, without '..'")]
    Path(String),
    /// No file system has such a path.
    #[error(
        "invalid mount point: a name in it has more than 255 bytes, or the whole of it more than 4095"
    )]
    Length,
    /// Every container needs its own mount at this path.
    #[error("invalid mount point '{0}': every container has {1}")]
    Taken(String, &'static str),
    /// A device, or one of the links in `/dev`.
    #[error("invalid mount point '{0}': every container has this file of its own")]
    Device(String),
}

/// Paths that cannot be mounted over.
const TAKEN: [(&str, &str); 3] = [
    (
        "/dev",
        "devices of its own there; a place below it can be one",
    ),
    (TERMINALS, "terminals of its own there"),
    (
        "/proc",
        "a view of processes of its own there; a place below it can be one",
    ),
];

/// Where terminals are: nothing but what the kernel makes.
const TERMINALS: &str = "/dev/pts";
const BELOW_TERMINALS: &str = "/dev/pts/";

/// What every container has in `/dev` (runtime-spec, "Default Devices" and "Dev symbolic links"): the kernel's masks and each process need
/// the devices as they are.
const DEVICES: [&str; 12] = [
    "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "fd", "stdin", "stdout",
    "stderr",
];

/// The path as everybody writes it who writes it in the shortest way: no `.`, no doubled slash, none at the end. So what is mounted at one
/// place is seen to be.
///
/// # Errors
/// When nothing can be mounted there.
pub fn parse(path: &str) -> Result<String, MountPointError> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<&str> = parts.collect();
    if !tmpfs::is_absolute(path) || parts.is_empty() {
        return Err(MountPointError::Path(path.to_owned()));
    }
    let place = format!("/{}", parts.join("/"));
    if place.len() > 4095 || parts.iter().any(|part| part.len() > 255) {
        return Err(MountPointError::Length);
    }
    if matches!(parts.as_slice(), ["dev", name] if DEVICES.contains(name)) {
        return Err(MountPointError::Device(place));
    }
    let root = if place.starts_with(BELOW_TERMINALS) {
        TERMINALS
    } else {
        &*place
    };
    match TAKEN.iter().find(|(taken, _)| *taken == root) {
        Some((_, what)) => Err(MountPointError::Taken(place, what)),
        None => Ok(place),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_has_one_name() {
        let long = |count| format!("/{}", "x".repeat(count));
        assert!(parse(&long(255)).is_ok() && parse(&long(200).repeat(20)).is_ok());
        assert_eq!(parse(&long(256)), Err(MountPointError::Length));
        assert_eq!(parse(&long(200).repeat(21)), Err(MountPointError::Length));
        for (text, place) in [
            ("/a", "/a"),
            ("/a/", "/a"),
            ("//a///b/./c/.", "/a/b/c"),
            ("/a b/...", "/a b/..."),
            ("/dev/shm", "/dev/shm"),
            ("/dev/null/x", "/dev/null/x"),
            ("/dev/foo", "/dev/foo"),
            ("/proc/uptime", "/proc/uptime"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(place), "{text}");
        }
        for text in [
            "", "a", "./a", "/", "//", "/.", "/./", "/a/..", "/a/../b", "/a\0",
        ] {
            assert_eq!(
                parse(text),
                Err(MountPointError::Path(text.into())),
                "{text}"
            );
        }
        for text in ["/dev/null", "/dev//tty/", "/dev/stdout"] {
            assert!(
                matches!(parse(text), Err(MountPointError::Device(_))),
                "{text}"
            );
        }
        for (text, what) in [
            ("/proc", "a view of processes of its own"),
            ("/dev/", "devices of its own"),
            ("/./dev", "devices of its own"),
            ("/dev/pts", "terminals of its own"),
            ("/dev/pts/0", "terminals of its own"),
        ] {
            assert!(
                matches!(parse(text), Err(MountPointError::Taken(_, taken)) if taken.starts_with(what)),
                "{text}"
            );
        }
        assert_eq!(parse("/dev/ptsx").as_deref(), Ok("/dev/ptsx"));
    }

    proptest! {
        #[test]
        fn whatever_passes_stays_in_the_container(text in "[/.a]{0,12}|\\PC{0,20}") {
            if let Ok(place) = parse(&text) {
                let inside = place.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
                prop_assert!(place.starts_with('/') && inside);
                prop_assert_eq!(parse(&place).unwrap(), place);
            }
        }
    }
}
