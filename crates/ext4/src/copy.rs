//! A copy of a disk.

use std::fs::File;
use std::io;
use std::path::Path;

use container_files::Links;
use rustix::fs::{FallocateFlags, SeekFrom};

/// Copies a sparse file: by reflink where the file system can, else only the runs that hold data.
///
/// # Errors
/// As `open(2)` of a regular file, and as writing fails; what is written then is to be thrown away.
pub fn copy(from: &Path, target: &File) -> io::Result<()> {
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
            let wanted = usize::try_from(hole - read)
                .unwrap_or(usize::MAX)
                .min(1 << 30);
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
        }
        offset = hole;
    }
    Ok(())
}
