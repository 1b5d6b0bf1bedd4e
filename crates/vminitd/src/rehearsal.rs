//! The program of a rehearsal: it does to its kernel what programs do when they start and end, so that the kernel (and an
//! emulator, which translates it) does nothing for the first time when a container's program comes.
//!
//! It is this same binary, run from its open file. Its argument is a file of the container's root: that is read, mapped and written to
//! as the pages of a program are, and none of it is executed.

use std::ffi::{CStr, CString, c_void};
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::{ptr, slice};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect};
use rustix::process::{Resource, getrlimit, getuid};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::launch::exec;

/// The name by which the binary knows that it is to rehearse.
pub const NAME: &CStr = c"container-rehearsal";

const PAGE: usize = 4096;
/// Bytes from one page that is read to the next: further than the kernel reads around a fault (64 KiB on each side of it).
const STRIDE: usize = 14 * PAGE;
/// Anonymous memory that is mapped, in bytes.
const HEAP: usize = 1 << 20;
/// Pages that are written to.
const WRITTEN: usize = 8;

/// Rehearses with the file that the only argument names.
pub fn main() -> ExitCode {
    let path = std::env::args_os().nth(1);
    match path.map(|path| CString::new(path.into_vec())) {
        Some(Ok(path)) if rehearse(&path).is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn rehearse(path: &CStr) -> io::Result<()> {
    // It is no program. That is found out when its beginning has been read.
    exec(path, &[path.to_owned()], &[]);
    let file = File::open(path.to_string_lossy().as_ref())?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    getrlimit(Resource::Stack);
    let _ = getuid();
    if length > 0 {
        read_code(&file, length)?;
        write_data(&file, length)?;
    }
    write_heap()?;
    io::stdout().write_all(b"\n")
}

/// Maps the whole of a file for itself. The mapping stays.
fn map(file: &File, length: usize, protection: ProtFlags) -> io::Result<*mut c_void> {
    let flags = MapFlags::PRIVATE;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let start = unsafe { mmap(ptr::null_mut(), length, protection, flags, file, 0) }?;
    Ok(start)
}

/// Reads pages of the file neither in order nor one beside the other, as code is.
fn read_code(file: &File, length: usize) -> io::Result<()> {
    let start = map(file, length, ProtFlags::READ | ProtFlags::EXEC)?;
    // SAFETY: the mapping stays, and nobody changes its file: it is on a read-only disk.
    let bytes = unsafe { slice::from_raw_parts(start.cast::<u8>(), length) };
    let steps = length.div_ceil(STRIDE);
    for step in 0..steps {
        black_box(bytes[step * 7 % steps * STRIDE]);
    }
    Ok(())
}

/// Writes to private pages of the file, as a program does to its data, and takes the right to write away from two.
fn write_data(file: &File, length: usize) -> io::Result<()> {
    let start = map(file, length, ProtFlags::READ | ProtFlags::WRITE)?;
    // SAFETY: the mapping stays, and this is the only reference to it.
    let bytes = unsafe { slice::from_raw_parts_mut(start.cast::<u8>(), length) };
    write(bytes, |page| page[0] = 1);
    // SAFETY: nothing is written there any more.
    unsafe { mprotect(start, length.min(2 * PAGE), MprotectFlags::READ) }?;
    Ok(())
}

/// Has the kernel write to memory that is met for the first time.
fn write_heap() -> io::Result<()> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), HEAP, protection, MapFlags::PRIVATE) }?;
    // SAFETY: the mapping stays, is full of zeroes, and this is the only reference to it.
    let bytes = unsafe { slice::from_raw_parts_mut(start.cast::<u8>(), HEAP) };
    write(bytes, |page| {
        // What it says is of no interest.
        let _ = getrandom(&mut page[..8], GetRandomFlags::NONBLOCK);
    });
    Ok(())
}

fn write(bytes: &mut [u8], each: impl FnMut(&mut [u8])) {
    bytes.chunks_mut(PAGE).take(WRITTEN).for_each(each);
    black_box(bytes);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_of_any_size_is_rehearsed_with_and_stays_as_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("program");
        let name = CString::new(path.to_str().unwrap()).unwrap();
        for size in [0, 1, PAGE, 7 * STRIDE, 1 << 20] {
            let content = vec![b'x'; size];
            std::fs::write(&path, &content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            rehearse(&name).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(rehearse(&name).is_err());
    }
}
