//! Disks: files of the host composed into block devices.
//!
//! The VMM never sees a path: it gets descriptors, opened read-only where the disk is, and finds
//! them through its own `/dev/fdset`. Each format is named, none is detected.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, MemfdFlags, Mode, OFlags};

use crate::device::{Disk, DiskError, Extent, MAX_EXTENTS, SECTOR};

/// How a disk is presented to QEMU.
#[derive(Debug)]
pub(super) enum Backend {
    /// One file, all of it.
    Raw(OwnedFd),
    /// Several ranges joined by a flat VMDK descriptor.
    Composed(Composition),
}

/// The parts of a flat VMDK image.
#[derive(Debug)]
pub(super) struct Composition {
    /// Ranges of files, in order.
    pub(super) parts: Vec<Part>,
    /// Each file once, with the index that [`Part::file`] refers to.
    pub(super) files: Vec<OwnedFd>,
}

/// A range of one file of a [`Composition`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) file: usize,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Checks a disk's layout and opens its files.
pub(super) fn open(disk: &Disk) -> Result<Backend, DiskError> {
    check_layout(disk)?;
    match &disk.extents[..] {
        [] => empty(disk),
        [only] if only.offset == 0 && only.length == disk.size => {
            let (file, length) = open_file(only, disk.read_only)?;
            if disk.read_only || length == disk.size {
                let aligned = length == disk.size;
                return if aligned {
                    Ok(Backend::Raw(file))
                } else {
                    compose(disk)
                };
            }
            Err(DiskError::Layout(
                "a writable disk must be as large as its file",
            ))
        }
        _ if disk.read_only => compose(disk),
        _ => Err(DiskError::Layout("a writable disk must be one whole file")),
    }
}

/// An empty disk: what is written to it is in memory.
fn empty(disk: &Disk) -> Result<Backend, DiskError> {
    let hole = if disk.read_only {
        sealed_memfd("empty", &[], disk.size)
    } else {
        crate::template::memory::empty(disk.size)
    };
    hole.map(Backend::Raw).map_err(DiskError::Describe)
}

const UNALIGNED: DiskError = DiskError::Layout("sizes and offsets must be multiples of 512 bytes");

fn check_layout(disk: &Disk) -> Result<(), DiskError> {
    check_size(disk)?;
    if disk.extents.len() > MAX_EXTENTS {
        return Err(DiskError::Layout("it has more than 512 extents"));
    }
    let aligned = |extent: &Extent| (extent.offset | extent.length) % SECTOR == 0;
    if !disk.extents.iter().all(aligned) {
        return Err(UNALIGNED);
    }
    match disk.covered() {
        Some(covered) if covered <= disk.size => Ok(()),
        _ => Err(DiskError::Layout("its extents are larger than its size")),
    }
}

fn check_size(disk: &Disk) -> Result<(), DiskError> {
    match disk.size {
        0 => Err(DiskError::Layout("it has no size")),
        size if size % SECTOR != 0 => Err(UNALIGNED),
        _ => Ok(()),
    }
}

/// Opens an extent's file, and returns it with its length.
fn open_file(extent: &Extent, read_only: bool) -> Result<(OwnedFd, u64), DiskError> {
    let path = &extent.path;
    let failed = |source: io::Error| DiskError::Open {
        path: path.clone(),
        read_only,
        source,
    };
    let access = if read_only {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
    };
    // Without NONBLOCK a FIFO in the file's place would block; it means nothing to real disks.
    let file = rustix::fs::open(
        path,
        access | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )
    .map_err(|error| failed(error.into()))?;
    let status = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
    let length = match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => u64::try_from(status.st_size).unwrap_or(0),
        FileType::BlockDevice => rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))
            .map_err(|error| failed(error.into()))?,
        _ => return Err(DiskError::FileType(path.clone())),
    };
    let expected = extent.offset.saturating_add(extent.length);
    if length < expected {
        return Err(DiskError::TooShort {
            path: path.clone(),
            expected,
            actual: length,
        });
    }
    Ok((file, length))
}

fn compose(disk: &Disk) -> Result<Backend, DiskError> {
    let mut opened: Vec<&Path> = Vec::new();
    let mut composition = Composition {
        parts: Vec::new(),
        files: Vec::new(),
    };
    for extent in disk.extents.iter().filter(|extent| extent.length > 0) {
        let known = opened.iter().position(|path| *path == extent.path);
        let (descriptor, _) = open_file(extent, true)?;
        let file = known.unwrap_or(composition.files.len());
        if known.is_none() {
            opened.push(&extent.path);
            composition.files.push(descriptor);
        }
        composition.parts.push(Part {
            file,
            offset: extent.offset,
            length: extent.length,
        });
    }
    let padding = disk.size - disk.covered().unwrap_or(disk.size);
    if padding > 0 {
        // A hole of a memory file: reads as zeroes and holds no memory.
        let hole = sealed_memfd("padding", &[], padding).map_err(DiskError::Describe)?;
        composition.parts.push(Part {
            file: composition.files.len(),
            offset: 0,
            length: padding,
        });
        composition.files.push(hole);
    }
    Ok(Backend::Composed(composition))
}

/// A read-only description of a composed disk, in the text format of VMDK ("Virtual Disk Format
/// 5.0", section "The Descriptor File"), in a file without a name. `number(n)` is the set of
/// descriptors under which QEMU finds the composition's file `n`.
pub(super) fn descriptor(
    composition: &Composition,
    number: impl Fn(usize) -> usize,
) -> Result<OwnedFd, DiskError> {
    let text = descriptor_text(&composition.parts, number);
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    sealed_memfd("disk", text.as_bytes(), length).map_err(DiskError::Describe)
}

fn descriptor_text(parts: &[Part], number: impl Fn(usize) -> usize) -> String {
    // Access "RW" is the only one QEMU reads; the descriptors given to it are what forbids writing.
    let mut text = String::from(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n\
         createType=\"twoGbMaxExtentFlat\"\n",
    );
    for part in parts {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "RW {} FLAT \"/dev/fdset/{}\" {}",
            part.length / SECTOR,
            number(part.file),
            part.offset / SECTOR
        );
    }
    text
}

/// A file in memory with `content`, `length` bytes long, that nobody can change, opened read-only.
fn sealed_memfd(name: &str, content: &[u8], length: u64) -> io::Result<OwnedFd> {
    use std::io::Write as _;
    use std::os::fd::AsRawFd;

    use rustix::fs::SealFlags;

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create(name, flags)?);
    file.write_all(content)?;
    file.set_len(length)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

#[cfg(test)]
mod tests;
