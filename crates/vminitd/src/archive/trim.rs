//! Gives space that is free back to the host.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Instant;

use super::error::ArchiveError;
use crate::boot::UPPER;
use crate::container::volumes;

/// `FITRIM` of linux/fs.h: `_IOWR('X', 121, struct fstrim_range)`.
const FITRIM: libc::Ioctl = 0xc018_5879;
/// Bytes of a run that is not worth a request.
const MINIMUM: u64 = 64 << 10;

/// Bytes of a file system that are trimmed at a time where there is a limit.
const STEP: u64 = 8 << 30;

/// `struct fstrim_range` of linux/fs.h.
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
    minimum: u64,
}

/// Trims the writable layer and the volumes. To be called before the container's root is entered. How many bytes a file system calls free
/// says nothing of what the host gets back, so nobody is told.
pub fn trim() -> Result<(), ArchiveError> {
    let all = std::iter::once(Path::new(UPPER).to_owned()).chain(volumes::mounted());
    for place in all {
        give_back(&place, None).map_err(ArchiveError::at(&*place))?;
    }
    Ok(())
}

/// Trims the file system at `place`, or as much of it as there is time for before `until`.
pub fn give_back(place: &Path, until: Option<Instant>) -> io::Result<()> {
    let root = File::open(place)?;
    // What was deleted is free when the journal says so.
    rustix::fs::syncfs(&root)?;
    let found = rustix::fs::fstatvfs(&root)?;
    let size = found.f_blocks.saturating_mul(found.f_frsize);
    let step = if until.is_some() { STEP } else { u64::MAX };
    let mut start = 0_u64;
    while start < size && until.is_none_or(|until| Instant::now() < until) {
        part(&root, start, step)?;
        start = start.saturating_add(step);
    }
    Ok(())
}

fn part(root: &File, start: u64, length: u64) -> io::Result<()> {
    let mut range = Range {
        start,
        length,
        minimum: MINIMUM,
    };
    // SAFETY: FITRIM reads and writes one `fstrim_range`.
    if unsafe { libc::ioctl(root.as_raw_fd(), FITRIM, &raw mut range) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // In memory, or read-only: nothing is the host's.
        Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::EROFS) => Ok(()),
        _ => Err(error),
    }
}
