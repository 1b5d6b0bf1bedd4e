//! Devices that the container gets by their names (`--device`): the guest knows their numbers.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path};

use container_api::guest::Device;
use rustix::fs::{major, minor};
use thiserror::Error;

use crate::spec::{self, DeviceRule};

/// Where the guest has its devices (devtmpfs).
const DEV: &str = "/dev";
/// Devices in one directory, those below its directories included.
const NODES_MAX: usize = 256;
/// Major number of loop devices, which come into being when they are opened.
const LOOP: u32 = 7;
/// How many minor numbers the kernel has for one major (`MINORBITS` of `linux/kdev_t.h`).
const MINORS: u32 = 1 << 20;
/// What everybody may open where udev runs (50-udev-default.rules); the kernel's own nodes are root's.
const PUBLIC: [&str; 3] = ["/dev/fuse", "/dev/net/tun", "/dev/kvm"];

/// Why a device cannot be given.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The guest does not have it.
    #[error("the container's machine has no device {path}{}", hint(.path))]
    Unknown { path: String },
    /// Something else than a device.
    #[error("{0} of the container's machine is no device")]
    NoDevice(String),
    /// A directory of very many.
    #[error("{0} has more than {NODES_MAX} devices")]
    TooMany(String),
    /// Reading the guest's own files.
    #[error("cannot look for the device {path}")]
    Look {
        path: String,
        #[source]
        source: io::Error,
    },
}

fn hint(path: &str) -> &'static str {
    if path == "/dev/kvm" {
        ": a container has one with nested virtualization, where the host can"
    } else {
        "; those of the host are not available in a container"
    }
}

/// The nodes that stand for `wanted` in the container, and rules that let it use them.
pub fn find(wanted: &Device) -> Result<(Vec<spec::Device>, Vec<DeviceRule>), DeviceError> {
    let path = Path::new(&wanted.path);
    let inside =
        path.starts_with(DEV) && !path.components().any(|part| part == Component::ParentDir);
    let unknown = || DeviceError::Unknown {
        path: wanted.path.clone(),
    };
    if !inside {
        return Err(unknown());
    }
    let mut found = Vec::new();
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            below(path, Path::new(&wanted.destination), &mut found)?;
        }
        Ok(metadata) => {
            let node = node(&wanted.path, &wanted.destination, &metadata);
            found.push(node.ok_or_else(|| DeviceError::NoDevice(wanted.path.clone()))?);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            found.push(loop_device(wanted).ok_or_else(unknown)?);
        }
        Err(source) => {
            return Err(DeviceError::Look {
                path: wanted.path.clone(),
                source,
            });
        }
    }
    let rules = found.iter().map(|node| DeviceRule {
        allow: true,
        kind: Some(node.kind.clone()),
        major: Some(node.major.into()),
        minor: Some(node.minor.into()),
        access: Some(wanted.access.clone()),
    });
    let rules = rules.collect();
    Ok((found, rules))
}

/// Every device below `directory`, below `destination`. Links and other files are passed over.
fn below(
    directory: &Path,
    destination: &Path,
    found: &mut Vec<spec::Device>,
) -> Result<(), DeviceError> {
    let look = |source| DeviceError::Look {
        path: directory.display().to_string(),
        source,
    };
    for entry in fs::read_dir(directory).map_err(look)? {
        let entry = entry.map_err(look)?;
        let metadata = entry.metadata().map_err(look)?;
        let destination = destination.join(entry.file_name());
        if metadata.is_dir() {
            below(&entry.path(), &destination, found)?;
        } else if let (Some(path), Some(place)) = (entry.path().to_str(), destination.to_str()) {
            found.extend(node(path, place, &metadata));
        }
        if found.len() > NODES_MAX {
            return Err(DeviceError::TooMany(directory.display().to_string()));
        }
    }
    Ok(())
}

fn node(path: &str, destination: &str, metadata: &fs::Metadata) -> Option<spec::Device> {
    let kind = if metadata.file_type().is_char_device() {
        "c"
    } else if metadata.file_type().is_block_device() {
        "b"
    } else {
        return None;
    };
    let mode = if PUBLIC.contains(&path) {
        0o666
    } else {
        metadata.mode() & 0o777
    };
    Some(spec::Device {
        path: destination.to_owned(),
        kind: kind.to_owned(),
        major: major(metadata.rdev()),
        minor: minor(metadata.rdev()),
        file_mode: Some(mode),
        uid: None,
        gid: None,
    })
}

/// `/dev/loop<number>`, which need not exist yet.
fn loop_device(wanted: &Device) -> Option<spec::Device> {
    let number = wanted.path.strip_prefix("/dev/loop")?;
    let digits = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty();
    let number = number
        .parse()
        .ok()
        .filter(|number| digits && *number < MINORS)?;
    Some(spec::Device {
        path: wanted.destination.clone(),
        kind: "b".to_owned(),
        major: LOOP,
        minor: number,
        file_mode: Some(0o660),
        uid: None,
        gid: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str) -> Device {
        Device {
            path: path.to_owned(),
            destination: "/dev/x".to_owned(),
            access: "rw".to_owned(),
        }
    }

    #[test]
    fn numbers_are_those_of_this_machine() {
        let (nodes, rules) = find(&device("/dev/null")).unwrap();
        let node = &nodes[0];
        assert_eq!(
            (
                node.path.as_str(),
                node.kind.as_str(),
                node.major,
                node.minor
            ),
            ("/dev/x", "c", 1, 3)
        );
        assert_eq!(rules[0].access.as_deref(), Some("rw"));
    }

    #[test]
    fn loop_devices_need_not_exist() {
        let (nodes, _) = find(&device("/dev/loop1000")).unwrap();
        assert_eq!((nodes[0].major, nodes[0].minor), (7, 1000));
        for path in [
            "/dev/loop",
            "/dev/loop-1",
            "/dev/loop+1",
            "/dev/loop99999999",
        ] {
            assert!(
                matches!(find(&device(path)), Err(DeviceError::Unknown { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn what_is_not_there_is_told() {
        let text = |path: &str| find(&device(path)).unwrap_err().to_string();
        let unknown = text("/dev/nosuch");
        assert!(
            unknown.contains("no device /dev/nosuch; those of the host"),
            "{unknown}"
        );
        assert!(text("/dev/../etc/passwd").contains("no device"));
        assert!(text("/etc/passwd").contains("no device"));
    }
}
