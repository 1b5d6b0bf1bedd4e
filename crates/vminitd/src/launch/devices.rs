//! The container's /dev: default devices and links (runtime-spec, "Default Devices" and "Dev symbolic links").

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::failure::{Context, Failure};
use crate::spec;

/// Character devices that every container has, with their numbers.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Furnishes /dev. Needs a umask of 0.
pub fn furnish(devices: &[spec::Device]) -> Result<(), Failure> {
    fs::create_dir_all("/dev").context(|| "cannot make /dev")?;
    for (path, major, minor) in DEFAULT {
        node(path, FileType::CharacterDevice, 0o666, major, minor)?;
    }
    for device in devices {
        let kind = match device.kind.as_str() {
            "b" => FileType::BlockDevice,
            "p" => FileType::Fifo,
            _ => FileType::CharacterDevice,
        };
        let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
        node(&device.path, kind, mode, device.major, device.minor)?;
        if device.uid.is_some() || device.gid.is_some() {
            chown(&device.path, device.uid, device.gid)
                .context(|| format!("cannot give {} to its owner", device.path))?;
        }
    }
    for (to, from) in LINKS {
        link(to, from)?;
    }
    if Path::new("/proc/kcore").exists() {
        link("/proc/kcore", "/dev/core")?;
    }
    Ok(())
}

/// Makes a node, unless the very same is there, or something is mounted there.
fn node(path: &str, kind: FileType, mode: u32, major: u32, minor: u32) -> Result<(), Failure> {
    let step = || format!("cannot make the device {path}");
    let device = makedev(major, minor);
    match fs::symlink_metadata(path) {
        Ok(found) => {
            let found_kind = found.file_type();
            let same = match kind {
                FileType::BlockDevice => found_kind.is_block_device() && found.rdev() == device,
                FileType::Fifo => found_kind.is_fifo(),
                _ => found_kind.is_char_device() && found.rdev() == device,
            };
            if same {
                let permissions = fs::Permissions::from_mode(mode);
                return fs::set_permissions(path, permissions).context(step);
            }
            match fs::remove_file(path) {
                // What the user has mounted there is there instead, as with runc.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Ok(()),
                removed => removed.context(step)?,
            }
        }
        Err(_) => {
            if let Some(parent) = Path::new(path).parent() {
                // The umask is 0.
                let mut directory = fs::DirBuilder::new();
                directory.recursive(true).mode(0o755);
                directory.create(parent).context(step)?;
            }
        }
    }
    mknodat(CWD, path, kind, Mode::from_raw_mode(mode), device).context(step)
}

/// Makes a link in place of any other file; an equal link, or a directory, stays.
fn link(to: &str, from: &str) -> Result<(), Failure> {
    match fs::symlink_metadata(from) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(found)
            if found.is_symlink() && fs::read_link(from).is_ok_and(|old| old == Path::new(to)) =>
        {
            return Ok(());
        }
        Ok(_) => fs::remove_file(from).context(|| format!("cannot replace {from}"))?,
        Err(_) => {}
    }
    symlink(to, from).context(|| format!("cannot make the link {from}"))
}
