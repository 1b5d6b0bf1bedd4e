//! Checks a kernel image's header before a VMM is started with it: a VMM's own message about a
//! damaged kernel is obscure, and some crash or hang.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use container_files::Links;

/// Why a kernel image cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The file cannot be opened or read.
    #[error("cannot read the kernel")]
    Read(#[source] io::Error),
    /// Neither an x86-64 ELF executable nor a bzImage.
    #[error("the file is neither an x86-64 ELF kernel nor a bzImage")]
    Unrecognised,
    /// The header describes more bytes than the file has.
    #[error("the kernel is truncated: it should have at least {expected} bytes and has {actual}")]
    Truncated {
        /// Bytes that the header promises.
        expected: u64,
        /// Bytes in the file.
        actual: u64,
    },
}

/// Most program headers that a sane kernel has.
const MAX_PROGRAM_HEADERS: u16 = 64;
/// Size of an `Elf64_Phdr`.
const PROGRAM_HEADER: u64 = 56;

/// Opens an ELF `vmlinux` for x86-64 or a bzImage whose file is complete.
pub fn open(path: &Path) -> Result<File, KernelError> {
    let file = container_files::open(path, Links::Follow).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => KernelError::Unrecognised,
        _ => KernelError::Read(error),
    })?;
    let actual = file.metadata().map_err(KernelError::Read)?.len();
    // The largest offset read below is 0x214 in a bzImage's setup header.
    let mut header = [0u8; 0x218];
    let mut filled = 0;
    while filled < header.len() {
        let offset = filled.try_into().unwrap_or(u64::MAX);
        match file
            .read_at(&mut header[filled..], offset)
            .map_err(KernelError::Read)?
        {
            0 => break,
            read => filled += read,
        }
    }
    let expected = if header.starts_with(b"\x7fELF") {
        elf_length(&file, &header, actual)?
    } else if &header[0x202..0x206] == b"HdrS" {
        bzimage_length(&header)
    } else {
        return Err(KernelError::Unrecognised);
    };
    if actual < expected {
        return Err(KernelError::Truncated { expected, actual });
    }
    Ok(file)
}

/// End of the last segment of an ELF file (System V ABI, "Program Header").
fn elf_length(file: &File, header: &[u8], actual: u64) -> Result<u64, KernelError> {
    const CLASS64_LITTLE_ENDIAN: [u8; 2] = [2, 1];
    const MACHINE_X86_64: u16 = 62;
    if header[4..6] != CLASS64_LITTLE_ENDIAN || u16_at(header, 18) != MACHINE_X86_64 {
        return Err(KernelError::Unrecognised);
    }
    let table = u64_at(header, 32);
    let count = u16_at(header, 56);
    if u64::from(u16_at(header, 54)) != PROGRAM_HEADER || count == 0 || count > MAX_PROGRAM_HEADERS
    {
        return Err(KernelError::Unrecognised);
    }
    let mut expected = table.saturating_add(PROGRAM_HEADER * u64::from(count));
    if actual < expected {
        return Ok(expected);
    }
    for index in 0..u64::from(count) {
        let mut entry = [0u8; 56];
        file.read_exact_at(&mut entry, table + index * PROGRAM_HEADER)
            .map_err(KernelError::Read)?;
        let end = u64_at(&entry, 8).saturating_add(u64_at(&entry, 32));
        expected = expected.max(end);
    }
    Ok(expected)
}

/// Length of a bzImage: its setup sectors and the protected-mode code
/// (Documentation/arch/x86/boot.rst, `setup_sects` and `syssize`).
fn bzimage_length(header: &[u8]) -> u64 {
    let setup_sectors = match header[0x1f1] {
        0 => 4,
        sectors => u64::from(sectors),
    };
    (setup_sectors + 1) * 512 + u64::from(u32_at(header, 0x1f4)) * 16
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from(u16_at(bytes, offset)) | u32::from(u16_at(bytes, offset + 2)) << 16
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from(u32_at(bytes, offset)) | u64::from(u32_at(bytes, offset + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    /// A vmlinux with one segment of `segment` bytes after the headers.
    fn elf(segment: u64) -> Vec<u8> {
        let mut image = vec![0u8; 120];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[18] = 62;
        image[32] = 64;
        image[54] = 56;
        image[56] = 1;
        image[64 + 8] = 120;
        image[64 + 32..64 + 40].copy_from_slice(&segment.to_le_bytes());
        image.resize(120 + usize::try_from(segment).unwrap(), 0x90);
        image
    }

    fn bzimage() -> Vec<u8> {
        let mut image = vec![0u8; 2 * 512 + 64 * 16];
        image[0x1f1] = 1;
        image[0x1f4] = 64;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image
    }

    #[test]
    fn complete_images_pass() {
        open(written(&elf(1000)).path()).unwrap();
        open(written(&bzimage()).path()).unwrap();
    }

    #[test]
    fn truncated_images_are_told_apart() {
        for image in [elf(1000), bzimage()] {
            // Cut just before the end, and inside the program headers or setup code.
            for length in [image.len() - 1, 600, 100] {
                let error = open(written(&image[..length.min(image.len() - 1)]).path());
                match error.unwrap_err() {
                    KernelError::Truncated { expected, .. } => assert!(expected > 100),
                    // Too short to hold the magic at all.
                    KernelError::Unrecognised => assert!(length < 0x206),
                    other @ KernelError::Read(_) => panic!("{other}"),
                }
            }
        }
    }

    #[test]
    fn other_files_are_refused() {
        let mut arm = elf(10);
        arm[18] = 183;
        for bytes in [&b""[..], b"#!/bin/sh\n", &[0u8; 4096], &arm] {
            assert!(matches!(
                open(written(bytes).path()),
                Err(KernelError::Unrecognised)
            ));
        }
        assert!(matches!(
            open(Path::new("/nonexistent")),
            Err(KernelError::Read(_))
        ));
        assert!(matches!(
            open(Path::new("/dev/zero")),
            Err(KernelError::Unrecognised)
        ));
        let scratch = tempfile::tempdir().unwrap();
        let pipe = scratch.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        assert!(matches!(open(&pipe), Err(KernelError::Unrecognised)));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_headers_never_panic(bytes: Vec<u8>, kind in 0..3) {
            let mut image = match kind { 0 => elf(0), 1 => bzimage(), _ => Vec::new() };
            let length = image.len().min(bytes.len());
            image[..length].iter_mut().zip(&bytes).skip(6).for_each(|(a, b)| *a = *b);
            let _ = open(written(&image).path());
        }
    }
}
