//! Files that a VMM opens by a path that does not exist: its owner answers with an open descriptor.
//!
//! So a VMM needs no path to anything of the host. A template's memory is such a file, and more: the VMM maps it
//! privately, its writes stay its own, and pages that it only reads are shared by all machines of the template. But
//! it opens a memory file for writing even when it maps it privately, and it gives memory back by punching a hole
//! into the file, which would be a hole in the template. The descriptor that it gets can only be read, and the hole
//! is answered with a success that changes nothing: what follows, `madvise(MADV_DONTNEED)`, drops the private copy, which
//! is all that the machine ever had. No trust is placed in the VMM: without the descriptor's consent no trick of its
//! own can write to the template.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Longest path of a loan, in bytes, with its end.
pub(super) const PATH_LIMIT: usize = 64;

/// What a VMM may open, and under which path. There are no such files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    /// The guest's kernel.
    Kernel,
    /// Its initial RAM file system.
    Initramfs,
    /// Guest memory that is the machine's own.
    Memory,
    /// Guest memory that is a template's.
    TemplateMemory,
    /// The device that executes the guest.
    Kvm,
}

impl Thing {
    /// Where the VMM looks for it.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Kernel => "/guest/kernel",
            Self::Initramfs => "/guest/initramfs",
            Self::Memory => "/guest/memory",
            Self::TemplateMemory => "/guest/template-memory",
            Self::Kvm => crate::accelerator::DEVICE,
        }
    }
}

/// A file that the VMM may have.
#[derive(Debug)]
pub(crate) struct Loan {
    thing: Thing,
    file: OwnedFd,
    /// The descriptor under which the VMM has it.
    lent: Option<u64>,
}

impl Loan {
    pub(crate) fn new(thing: Thing, file: impl Into<OwnedFd>) -> Self {
        Self {
            thing,
            file: file.into(),
            lent: None,
        }
    }

    /// Where the VMM looks for it.
    pub(crate) fn path(&self) -> &'static str {
        self.thing.path()
    }

    /// Whether holes in it are nothing but words.
    pub(super) fn keeps_its_pages(&self) -> bool {
        self.thing == Thing::TemplateMemory
    }

    pub(super) fn is_at(&self, path: &[u8]) -> bool {
        self.thing.path().as_bytes() == path
    }

    pub(super) fn is_lent_as(&self, descriptor: u64) -> bool {
        self.lent == Some(descriptor)
    }

    /// Prepares to be lent: who opens a file reads it from its start. The VMM opens its kernel twice, and reads one after the other.
    pub(super) fn rewind(&self) {
        // The device has no position to go to.
        let _ = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Start(0));
    }

    pub(super) fn lent_as(&mut self, descriptor: u64) {
        self.lent = Some(descriptor);
    }

    pub(super) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Lends another descriptor of the same file.
    pub(super) fn replace(&mut self, file: OwnedFd) {
        self.file = file;
    }
}

impl AsFd for Loan {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The host's device for virtual machines, open.
pub(crate) fn kvm() -> std::io::Result<Loan> {
    let device = File::options()
        .read(true)
        .write(true)
        .open(crate::accelerator::DEVICE)?;
    Ok(Loan::new(Thing::Kvm, device))
}
