//! How much of the host a VMM may take: limits of its process (`setrlimit`(2)), which every host has.

use std::io;

use rustix::process::{Resource, Rlimit};

/// Descriptors that a VMM may have open: each disk's extents, and some for itself.
const DESCRIPTORS: u64 = 4096;

/// Threads of a VMM beside its vCPUs: 64 that read and write disks (`thread-pool-max` of QEMU's main loop), the main loop, and
/// some that free memory or save the machine.
const OTHER_THREADS: u32 = 64 + 16;

/// Memory of a VMM beside its guest's, in bytes: heap, stacks of 8 MiB for each thread, and of 1 MiB for each request of a disk that is
/// under way, 256 for each queue; most of that is never touched. A guest that fills and discards a disk was seen to need 1.1 GiB
/// with 21 threads. QEMU aborts where a stack is refused.
const OVERHEAD: u64 = 2 << 30;

/// What TCG sets aside for translated code, in bytes: at most 1 GiB (`DEFAULT_CODE_GEN_BUFFER_SIZE` of QEMU's `tcg/region.c`).
const TRANSLATIONS: u64 = 1 << 30;

/// Limits of one VMM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceilings {
    /// Largest file that it may write, in bytes.
    pub(crate) file_size: u64,
    /// Memory that it may write to, in bytes, whether it does or not.
    pub(crate) memory: u64,
    /// Threads that it may have.
    pub(crate) threads: u32,
}

impl Ceilings {
    /// Those of a VMM with a guest of `memory` bytes and `vcpus`, that writes no file larger than `file_size` bytes.
    pub(crate) fn new(memory: u64, vcpus: u32, translates: bool, file_size: u64) -> Self {
        let translations = if translates { TRANSLATIONS } else { 0 };
        Self {
            file_size,
            memory: memory.saturating_add(OVERHEAD + translations),
            threads: vcpus.saturating_add(OTHER_THREADS),
        }
    }

    /// Sets them for the calling process, which is alone with its user id if it is `another` than its owner. Allocates nothing.
    pub(super) fn set(&self, another: bool) -> io::Result<()> {
        set_limit(Resource::Core, 0)?;
        set_limit(Resource::Nofile, DESCRIPTORS)?;
        set_limit(Resource::Fsize, self.file_size)?;
        set_limit(Resource::Data, self.memory)?;
        if another {
            // The kernel counts all processes of an id; elsewhere the owner counts threads.
            set_limit(Resource::Nproc, self.threads.into())?;
        }
        Ok(())
    }
}

fn set_limit(resource: Resource, value: u64) -> io::Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum;
    let value = Some(hard.map_or(value, |hard| hard.min(value)));
    let limit = Rlimit {
        current: value,
        maximum: value,
    };
    Ok(rustix::process::setrlimit(resource, limit)?)
}
