//! What is left on the file systems of the host that a machine writes to.

use std::io;
use std::os::fd::OwnedFd;

use container_engine::{Device, VmSpec};
use rustix::fs::{Mode, OFlags};

/// The files of the disks that a machine may write to.
#[derive(Debug)]
pub struct Room(Vec<OwnedFd>);

impl Room {
    /// That of `spec`.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn of(spec: &VmSpec) -> io::Result<Self> {
        let disks = spec.devices.iter().filter_map(|device| match device {
            Device::Disk(disk) if !disk.read_only => Some(disk),
            _ => None,
        });
        let files = disks.flat_map(|disk| &disk.extents);
        let opened = files.map(|extent| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            Ok(rustix::fs::open(&extent.path, flags, Mode::empty())?)
        });
        opened.collect::<io::Result<_>>().map(Self)
    }

    /// Bytes that are free for users around each of the files; nothing around one whose file system does not tell.
    pub fn free(&self) -> Vec<u64> {
        let free = |file| container_files::free_around(file).ok().flatten();
        self.0.iter().map(|file| free(file).unwrap_or(0)).collect()
    }
}
