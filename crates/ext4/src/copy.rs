//! A copy of a disk.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use container_files::Links;
use rustix::fs::{FallocateFlags, SeekFrom};

/// Bytes that are copied between two looks at whether to stop, and two at how far it is.
const STEP: usize = 16 << 20;

/// Copies a sparse file: by reflink where the file system can, else only the runs that hold data.
///
/// # Errors
/// As `open(2)` of a regular file, and as writing fails; what is written then is to be thrown away.
pub fn copy(from: &Path, target: &File) -> io::Result<()> {
    copy_until(from, target, &Progress::default())
}

/// How far a copy is, and whether it is to end.
#[derive(Debug, Default)]
pub struct Progress {
    /// Where it is in the file, in bytes.
    pub at: AtomicU64,
    /// It is of no use any more.
    pub stop: AtomicBool,
}

/// As [`copy`], as long as it is not stopped.
///
/// # Errors
/// As [`copy`]; [`io::ErrorKind::TimedOut`] when it was stopped.
pub fn copy_until(from: &Path, target: &File, progress: &Progress) -> io::Result<()> {
    let source = container_files::open(from, Links::Refuse)?;
    if rustix::fs::ioctl_ficlone(target, &source).is_ok() {
        return Ok(());
    }
    let size = source.metadata()?.len();
    target.set_len(size)?;
    let mut offset = 0;
    while offset < size {
        let data = match rustix::fs::seek(&source, SeekFrom::Data(offset)) {
            Ok(data) => data,
            // No data after `offset`.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(&source, SeekFrom::Hole(data))?;
        // Asked for first, so that a full disk is an error here and not a lost write of the guest.
        rustix::fs::fallocate(target, FallocateFlags::empty(), data, hole - data)?;
        let (mut read, mut written) = (data, data);
        while read < hole {
            if progress.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let wanted = usize::try_from(hole - read).unwrap_or(usize::MAX).min(STEP);
            if rustix::fs::copy_file_range(
                &source,
                Some(&mut read),
                target,
                Some(&mut written),
                wanted,
            )? == 0
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            progress.at.store(read, Ordering::Relaxed);
        }
        offset = hole;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_stopped_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        std::fs::write(&from, "bytes").unwrap();
        let target = container_files::create(&to).unwrap();
        // By reflink it is made before anybody can stop it.
        let stopped = Progress {
            stop: true.into(),
            ..Progress::default()
        };
        match copy_until(&from, &target, &stopped) {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            Ok(()) => assert_eq!(std::fs::read(&to).unwrap(), b"bytes"),
        }
        copy_until(&from, &target, &Progress::default()).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"bytes");
    }
}
