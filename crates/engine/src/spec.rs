//! What a virtual machine is made of, free of any VMM's vocabulary.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// Everything that decides how a virtual machine looks from inside.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// Kernel image: an ELF `vmlinux` with a PVH entry, or a bzImage.
    pub kernel: PathBuf,
    /// Initial RAM file system with the guest's first process. Without one the caller's part of the command line
    /// names a disk with it (`root=`), and the machine can't be saved: a template has no disks.
    pub initramfs: Option<PathBuf>,
    /// The caller's part of the kernel command line. The engine appends what its machine needs
    /// (console, reboot and panic behaviour, clock).
    pub command_line: String,
    /// Virtual CPUs; at most [`crate::host::vcpu_limit`].
    pub vcpus: NonZeroU32,
    /// Guest memory in bytes, a multiple of 1 MiB.
    pub memory_bytes: u64,
    /// Disks, at most 64. Disk `n` has the serial number `disk<n>`. Up to five are virtio disks,
    /// `/dev/vda` and so on in this order. Of more, the first four are, and the others are units 0,
    /// 1 and so on of the only SCSI target (0:0:0), for which the guest has to look
    /// (`/sys/class/scsi_host/host0/scan`).
    pub disks: Vec<Disk>,
    /// Name of the virtio-serial port that carries the guest channel
    /// (`/sys/class/virtio-ports/*/name` in the guest).
    pub guest_channel: String,
    /// File that receives the guest's console, kept under [`crate::console::CAPACITY`] bytes.
    /// Without one only the last lines are kept, in memory.
    pub console: Option<PathBuf>,
    /// Who executes the guest's instructions.
    pub accelerator: Accelerator,
    /// Let the guest use the CPU's virtualization extensions.
    pub nested_virtualization: bool,
}

/// A block device of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What the disk consists of, in order. A writable disk has exactly one extent, which covers
    /// its whole file. Without extents a disk is empty, and what is written to it is in memory.
    pub extents: Vec<Extent>,
    /// Size that the guest sees, in bytes: a multiple of [`SECTOR`], at least the sum of the
    /// extents. What they don't cover reads as zeroes.
    pub size: u64,
    /// The host opens the files read-only, so nothing in the guest or the VMM can write to them.
    pub read_only: bool,
}

/// A range of a file of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The file. Its bytes are taken as they are: no image format is ever detected.
    pub path: PathBuf,
    /// First byte, a multiple of [`SECTOR`].
    pub offset: u64,
    /// Length in bytes, a multiple of [`SECTOR`].
    pub length: u64,
}

/// Unit of disk addressing, in bytes.
pub const SECTOR: u64 = 512;

/// Most extents that one disk may have: each costs the VMM a file descriptor.
pub const MAX_EXTENTS: usize = 512;

/// Executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The host's CPU, through `/dev/kvm`.
    Kvm,
    /// Translation in software: works everywhere, about ten times slower.
    Tcg,
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

impl Disk {
    /// A writable disk: the whole of `path`, `size` bytes long.
    pub fn writable(path: &Path, size: u64) -> Self {
        Self::whole(path, size, false)
    }

    /// A read-only disk: the whole of `path`, `size` bytes long.
    pub fn read_only(path: &Path, size: u64) -> Self {
        Self::whole(path, size, true)
    }

    fn whole(path: &Path, size: u64, read_only: bool) -> Self {
        let extent = Extent {
            path: path.to_owned(),
            offset: 0,
            length: size,
        };
        Self {
            extents: vec![extent],
            size,
            read_only,
        }
    }

    /// Bytes covered by extents, or `None` if the sum does not fit.
    pub(crate) fn covered(&self) -> Option<u64> {
        self.extents
            .iter()
            .try_fold(0u64, |sum, extent| sum.checked_add(extent.length))
    }
}
