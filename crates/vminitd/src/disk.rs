//! Finds disks by their serial numbers. The names that the kernel gives them say nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::uevent;

/// sysfs directory with one entry per block device.
const BLOCK: &str = "/sys/block";
/// sysfs directory with one entry per SCSI controller.
const SCSI_HOSTS: &str = "/sys/class/scsi_host";
/// All units of the only target: where a VMM puts disks that have no transport of their own, which the kernel looks for when it is
/// told to.
const ALL_UNITS: &str = "0 0 -";
/// A disk that is missing is on its way, or never comes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where a serial number begins on page 0x80 of a SCSI disk's vital product data (SPC-4, 7.8.15).
const SCSI_SERIAL: usize = 4;
/// The longest serial number that is told of in an error.
const SHOWN: usize = 64;

/// Why there is no disk.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The machine has no disk of this serial number.
    #[error("there is no disk `{0}`")]
    None(String),
    /// sysfs or uevents.
    #[error("cannot wait for the disk `{serial}`")]
    Wait {
        serial: String,
        #[source]
        source: io::Error,
    },
}

/// `/dev/<name>` of the disk with this serial number, waited for if need be.
pub fn find(serial: &str) -> Result<String, DiskError> {
    let shown = || serial.chars().take(SHOWN).collect();
    if let Ok(Some(name)) = look(Path::new(BLOCK), serial) {
        return Ok(format!("/dev/{name}"));
    }
    if let Err(error) = look_behind_controllers(Path::new(SCSI_HOSTS)) {
        return Err(DiskError::Wait {
            serial: shown(),
            source: error,
        });
    }
    match uevent::wait_for(PATIENCE, || look(Path::new(BLOCK), serial)) {
        Ok(Some(name)) => Ok(format!("/dev/{name}")),
        Ok(None) => Err(DiskError::None(shown())),
        Err(source) => Err(DiskError::Wait {
            serial: shown(),
            source,
        }),
    }
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

fn look(block: &Path, wanted: &str) -> io::Result<Option<String>> {
    for name in names(block)? {
        if serial(block, &name)?.is_some_and(|serial| serial == wanted) {
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
    let (path, start) = if name.starts_with("vd") {
        ("serial", 0)
    } else if name.starts_with("sd") {
        ("device/vpd_pg80", SCSI_SERIAL)
    } else {
        return Ok(None);
    };
    match fs::read(block.join(name).join(path)) {
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
        let look = |serial| look(block.path(), serial).unwrap();
        assert_eq!(look("root").as_deref(), Some("vdb"));
        assert_eq!(look("upper").as_deref(), Some("vda"));
        assert_eq!(look("volume-3").as_deref(), Some("sda"));
        for none in ["volume-4", "volume", "init", "vda"] {
            assert_eq!(look(none), None, "{none}");
        }
    }
}
