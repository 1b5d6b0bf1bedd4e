//! Devices that a restored machine got after its kernel had looked for them: their transports were empty then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

/// All devices of the platform's bus; a transport's name begins as its driver's does.
const DEVICES: &str = "/sys/bus/platform/devices";
/// The transports' driver.
const DRIVER: &str = "/sys/bus/platform/drivers/virtio-mmio";
/// How the names of transports begin.
const TRANSPORT: &str = "virtio-mmio.";

/// What a transport without a driver becomes one's again by, and the reverse.
const BIND: &str = "bind";
const UNBIND: &str = "unbind";

/// Why a device is not there.
#[derive(Debug, Error)]
pub enum TransportError {
    /// sysfs.
    #[error("cannot look for devices")]
    Look(#[source] io::Error),
    /// The kernel did not take one.
    #[error("cannot use the device on {transport}")]
    Bind {
        transport: String,
        #[source]
        source: io::Error,
    },
    /// It is behind none.
    #[error("the device {0} has no transport")]
    Missing(PathBuf),
}

/// Has the kernel look at transports that have no driver until `found` tells that the wanted device is there; nothing, where none of
/// them has it. Other devices are left as they were.
pub fn find<T>(found: impl Fn() -> Option<T>) -> Result<Option<T>, TransportError> {
    let unbound = unbound(Path::new(DEVICES)).map_err(TransportError::Look)?;
    search(unbound, drive, found)
}

/// Takes the driver from the transport of `device`, a directory of sysfs.
pub fn unbind(device: &Path) -> Result<(), TransportError> {
    act_on(&[UNBIND], device)
}

/// Makes `device` one that nobody has used yet.
pub fn renew(device: &Path) -> Result<(), TransportError> {
    act_on(&[UNBIND, BIND], device)
}

fn act_on(acts: &[&str], device: &Path) -> Result<(), TransportError> {
    let device = fs::canonicalize(device).map_err(TransportError::Look)?;
    let mut parts = device
        .components()
        .filter_map(|part| part.as_os_str().to_str());
    let Some(transport) = parts.find(|part| part.starts_with(TRANSPORT)) else {
        return Err(TransportError::Missing(device));
    };
    for act in acts {
        drive(act, transport).map_err(|source| TransportError::Bind {
            transport: transport.to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// Has the driver do `what` with `transport`.
fn drive(what: &str, transport: &str) -> io::Result<()> {
    fs::write(Path::new(DRIVER).join(what), transport)
}

fn search<T>(
    transports: Vec<String>,
    drive: impl Fn(&str, &str) -> io::Result<()>,
    found: impl Fn() -> Option<T>,
) -> Result<Option<T>, TransportError> {
    for transport in transports {
        let failed = |source| TransportError::Bind {
            transport: transport.clone(),
            source,
        };
        match drive(BIND, &transport) {
            Ok(()) => {
                if let Some(found) = found() {
                    return Ok(Some(found));
                }
                drive(UNBIND, &transport).map_err(failed)?;
            }
            // It is empty.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => {}
            Err(source) => return Err(failed(source)),
        }
    }
    Ok(None)
}

/// Names of the transports that have no driver, sorted.
fn unbound(devices: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(devices)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with(TRANSPORT) && !entry.path().join("driver").exists() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn transports_without_a_driver_are_found_in_order() {
        let devices = tempfile::tempdir().unwrap();
        for path in [
            "virtio-mmio.4",
            "virtio-mmio.0/driver",
            "virtio-mmio.2",
            "serial8250",
        ] {
            fs::create_dir_all(devices.path().join(path)).unwrap();
        }
        let names = unbound(devices.path()).unwrap();
        assert_eq!(names, ["virtio-mmio.2", "virtio-mmio.4"]);
    }

    #[test]
    fn one_is_looked_for_and_others_are_left() {
        let tried = RefCell::new(Vec::new());
        let drive = |what: &str, name: &str| {
            tried.borrow_mut().push(format!("{what} {name}"));
            if name == "a" {
                return Err(Errno::NODEV.into());
            }
            Ok(())
        };
        let names = || ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let third = || {
            tried
                .borrow()
                .iter()
                .any(|act| act == "bind c")
                .then_some(3)
        };
        assert_eq!(search(names(), drive, third).unwrap(), Some(3));
        assert_eq!(tried.take(), ["bind a", "bind b", "unbind b", "bind c"]);
        assert_eq!(search(names(), drive, || None::<()>).unwrap(), None);
        assert_eq!(tried.borrow().last().unwrap(), "unbind d");
    }
}
