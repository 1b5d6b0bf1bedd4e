//! Devices of the guest: `--device <path>[:<path in the container>][:<rwm>]`.

use crate::container::Device;
use crate::tmpfs::is_absolute;

/// What a device may be used for unless something else is said: to read, to write, to make nodes of it.
const ACCESS: &str = "rwm";

/// Why a text describes no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No path below `/dev`.
    #[error("invalid device '{0}': a path below /dev is expected")]
    Path(String),
    /// No place for it.
    #[error("invalid path '{0}' of a device in the container: an absolute path is expected")]
    Destination(String),
    /// Other letters than those of `rwm`, or one of them twice.
    #[error("invalid access '{0}' to a device: letters of rwm are expected")]
    Access(String),
    /// A name of the Container Device Interface.
    #[error(
        "'{0}' names a device of the host (CDI); a container has the devices of its own machine only"
    )]
    Host(String),
}

/// A device of the guest, as docker writes it.
///
/// # Errors
/// When it is malformed.
pub fn parse(text: &str) -> Result<Device, DeviceError> {
    if !text.starts_with('/') && text.contains('=') {
        return Err(DeviceError::Host(text.to_owned()));
    }
    let (path, rest) = match text.split_once(':') {
        Some((path, rest)) => (path, Some(rest)),
        None => (text, None),
    };
    if !is_absolute(path) || !path.starts_with("/dev/") {
        return Err(DeviceError::Path(path.to_owned()));
    }
    let (destination, access) = match rest {
        None => (path, ACCESS),
        Some(rest) => match rest.split_once(':') {
            Some((destination, access)) => (destination, access),
            // The second part is the third where it can be.
            None if is_access(rest) => (path, rest),
            None => (rest, ACCESS),
        },
    };
    if !is_absolute(destination) {
        return Err(DeviceError::Destination(destination.to_owned()));
    }
    if !is_access(access) {
        return Err(DeviceError::Access(access.to_owned()));
    }
    Ok(Device {
        path: path.to_owned(),
        destination: destination.to_owned(),
        access: access.to_owned(),
    })
}

fn is_access(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ACCESS.len()
        && text
            .char_indices()
            .all(|(at, letter)| ACCESS.contains(letter) && !text[..at].contains(letter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_may_be_missing() {
        for (text, expected) in [
            ("/dev/fuse", ["/dev/fuse", "/dev/fuse", "rwm"]),
            ("/dev/fuse:r", ["/dev/fuse", "/dev/fuse", "r"]),
            ("/dev/fuse:/dev/x", ["/dev/fuse", "/dev/x", "rwm"]),
            (
                "/dev/net/tun:/dev/tun:rw",
                ["/dev/net/tun", "/dev/tun", "rw"],
            ),
        ] {
            let device = parse(text).unwrap();
            assert_eq!(
                [&device.path, &device.destination, &device.access],
                expected
            );
        }
    }

    #[test]
    fn the_wrong_part_is_named() {
        let path = |text: &str| Err(DeviceError::Path(text.into()));
        assert_eq!(parse(""), path(""));
        assert_eq!(parse("fuse"), path("fuse"));
        assert_eq!(parse("/etc/passwd"), path("/etc/passwd"));
        assert_eq!(parse("/dev/../etc/passwd:/x"), path("/dev/../etc/passwd"));
        assert_eq!(
            parse("/dev/fuse:x:rw"),
            Err(DeviceError::Destination("x".into()))
        );
        assert_eq!(
            parse("/dev/fuse:/x:rr"),
            Err(DeviceError::Access("rr".into()))
        );
        assert_eq!(
            parse("/dev/fuse:/x:"),
            Err(DeviceError::Access(String::new()))
        );
        assert!(matches!(
            parse("vendor.example/gpu=all"),
            Err(DeviceError::Host(_))
        ));
    }

    proptest! {
        #[test]
        fn no_input_is_fatal(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
