//! Finds disks by their serial numbers. The names that the kernel gives them say nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;

use crate::transport::{self, TransportError};
use crate::uevent;

/// sysfs directory with one entry per block device.
const BLOCK: &str = "/sys/block";
/// Where the nodes of devices are.
const DEVICES: &str = "/dev";
/// sysfs directory with one entry per unit of a SCSI controller, among others.
const SCSI_UNITS: &str = "/sys/bus/scsi/devices";
/// sysfs directory with one entry per SCSI controller.
const SCSI_HOSTS: &str = "/sys/class/scsi_host";
/// All units of the only target: where a VMM puts disks that have no transport of their own, which the kernel looks for when it is
/// told to.
const ALL_UNITS: &str = "0 0 -";
/// A disk that is missing is on its way, or never comes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Page 0x80 of a unit's vital product data.
const SCSI_SERIAL_FILE: &str = "vpd_pg80";
/// Where a serial number begins on page 0x80 of a SCSI disk's vital product data (SPC-4, 7.8.15).
const SCSI_SERIAL: usize = 4;
/// The longest serial number that is told of in an error.
const SHOWN: usize = 64;

/// Serial numbers by the kernel's names of disks, which stay while their driver does: a virtio device is asked for its own each time that
/// one is read.
static KNOWN: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Why there is no disk.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The machine has no disk of this serial number.
    #[error("there is no disk `{0}`")]
    None(String),
    /// The transports of devices that came late.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// sysfs or uevents.
    #[error("cannot wait for the disk `{serial}`")]
    Wait {
        serial: String,
        #[source]
        source: io::Error,
    },
}

/// `/dev/<name>` of the disk with this serial number, waited for if need be. A disk that came since the kernel has looked for devices is
/// behind a transport without a driver: that is bound.
pub fn find(serial: &str) -> Result<String, DiskError> {
    let shown = || serial.chars().take(SHOWN).collect();
    let look_for = |serial: &str, known: &mut _| look(Path::new(BLOCK), serial, known);
    let look = || {
        let found = look_for(serial, &mut known())?;
        Ok(found.filter(|name| is_made(Path::new(DEVICES), name)))
    };
    if let Ok(Some(name)) = look() {
        return Ok(format!("/dev/{name}"));
    }
    // The kernel makes a block device of a unit in its own time.
    let is_unit = || match look_at_units(Path::new(SCSI_UNITS), serial) {
        Ok(false) => {
            look_behind_controllers(Path::new(SCSI_HOSTS))?;
            look_at_units(Path::new(SCSI_UNITS), serial)
        }
        told => told,
    };
    let is_unit_now = is_unit().map_err(|source| DiskError::Wait {
        serial: shown(),
        source,
    })?;
    if !is_unit_now {
        let before = known().clone();
        let found = transport::find(|| {
            // Another disk may get the name of one that was bound in vain: that is asked again.
            let mut known = before.clone();
            let is_block_device = matches!(look_for(serial, &mut known), Ok(Some(_)));
            // What cannot be looked at is not the disk.
            (is_block_device || is_unit().unwrap_or(false)).then_some(known)
        })?;
        if let Some(found) = found {
            *known() = found;
        }
    }
    match uevent::wait_for(PATIENCE, look) {
        Ok(Some(name)) => Ok(format!("/dev/{name}")),
        Ok(None) => Err(DiskError::None(shown())),
        Err(source) => Err(DiskError::Wait {
            serial: shown(),
            source,
        }),
    }
}

/// Whether the disk `name` can be opened. The kernel makes a SCSI disk in its own time (`sd_probe` is asynchronous): its serial number can be
/// read and its node is there (`device_add`) before the disk itself (`bdev_add`), and opening it is ENXIO until then. The uevent comes last.
fn is_made(devices: &Path, name: &str) -> bool {
    let is_missing = |error: io::Error| {
        error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(&error) == Some(Errno::NXIO)
    };
    // Others have been made when their transport is bound. What else is wrong is for its mount to tell.
    !name.starts_with("sd") || !fs::File::open(devices.join(name)).is_err_and(is_missing)
}

fn known() -> MutexGuard<'static, BTreeMap<String, String>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the kernel look for disks behind the SCSI controllers that there are.
fn look_behind_controllers(hosts: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(hosts) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for host in entries {
        fs::write(host?.path().join("scan"), ALL_UNITS)?;
    }
    Ok(())
}

/// Whether a unit of a SCSI controller that the kernel has looked at has this serial number.
fn look_at_units(units: &Path, wanted: &str) -> io::Result<bool> {
    let entries = match fs::read_dir(units) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for unit in entries {
        let file = unit?.path().join(SCSI_SERIAL_FILE);
        if read_serial(&file, SCSI_SERIAL)?.is_some_and(|serial| serial == wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Device nodes of all disks that the machine has of its VMM.
pub fn all() -> io::Result<Vec<PathBuf>> {
    let mut nodes = Vec::new();
    for name in names(Path::new(BLOCK))? {
        if serial(Path::new(BLOCK), &name)?.is_some() {
            nodes.push(Path::new("/dev").join(name));
        }
    }
    Ok(nodes)
}

/// The name of the disk with the serial number `wanted`. Those that are `known` are not asked again.
fn look(
    block: &Path,
    wanted: &str,
    known: &mut BTreeMap<String, String>,
) -> io::Result<Option<String>> {
    for name in names(block)? {
        if !known.contains_key(&name) {
            let Some(serial) = serial(block, &name)? else {
                continue;
            };
            known.insert(name.clone(), serial);
        }
        if known.get(&name).is_some_and(|serial| serial == wanted) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The kernel's names of all block devices.
fn names(block: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(block)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

/// The serial number of a virtio or SCSI disk. Others, such as loop devices, have none.
fn serial(block: &Path, name: &str) -> io::Result<Option<String>> {
    let disk = block.join(name);
    if name.starts_with("vd") {
        read_serial(&disk.join("serial"), 0)
    } else if name.starts_with("sd") {
        read_serial(&disk.join("device").join(SCSI_SERIAL_FILE), SCSI_SERIAL)
    } else {
        Ok(None)
    }
}

/// The serial number in `file`, which begins at the byte `start`.
fn read_serial(file: &Path, start: usize) -> io::Result<Option<String>> {
    match fs::read(file) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned();
            Ok(Some(text.trim_matches(['\0', ' ', '\n']).to_owned()))
        }
        // It has just come, or gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_there_when_it_can_be_opened() {
        let devices = tempfile::tempdir().unwrap();
        fs::write(devices.path().join("sda"), b"").unwrap();
        // Opening a socket is ENXIO, too.
        let _socket = std::os::unix::net::UnixListener::bind(devices.path().join("sdb")).unwrap();
        let made = ["sda", "sdb", "sdc", "vda"].map(|name| is_made(devices.path(), name));
        assert_eq!(made, [true, false, false, true]);
    }

    #[test]
    fn disks_are_known_by_their_serial_numbers_alone() {
        let block = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &[u8]| {
            let path = block.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("vda/serial", b"upper");
        write("vdb/serial", b"root\n");
        write("sda/device/vpd_pg80", b"\0\x80\0\x08volume-3");
        write("sdb/device/vpd_pg80", b"\0\x80");
        write("loop0/serial", b"volume-4");
        fs::create_dir(block.path().join("vdc")).unwrap();
        let mut known = BTreeMap::new();
        let mut look = |serial| look(block.path(), serial, &mut known).unwrap();
        assert_eq!(look("root").as_deref(), Some("vdb"));
        assert_eq!(look("upper").as_deref(), Some("vda"));
        assert_eq!(look("volume-3").as_deref(), Some("sda"));
        for none in ["volume-4", "volume", "init", "vda"] {
            assert_eq!(look(none), None, "{none}");
        }
        // Each of them was asked once.
        write("vda/serial", b"other");
        assert_eq!(look("upper").as_deref(), Some("vda"));
        assert_eq!(known.len(), 4);
        let units = tempfile::tempdir().unwrap();
        let at = |name: &str| look_at_units(&units.path().join(name), "volume-3").unwrap();
        assert!(!at("none"));
        fs::create_dir(units.path().join("host0")).unwrap();
        assert!(!at(""));
        fs::create_dir(units.path().join("0:0:3:0")).unwrap();
        let page = units.path().join("0:0:3:0").join(SCSI_SERIAL_FILE);
        fs::write(page, b"\0\x80\0\x08volume-3").unwrap();
        assert!(at(""));
    }
}
