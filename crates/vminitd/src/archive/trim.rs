//! Gives space that is free back to the host.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::error::ArchiveError;
use crate::boot::UPPER;
use crate::container::volumes;

/// `FITRIM` of linux/fs.h: `_IOWR('X', 121, struct fstrim_range)`.
const FITRIM: libc::Ioctl = 0xc018_5879;
/// Bytes of a run that is not worth a request.
const MINIMUM: u64 = 64 << 10;

/// `struct fstrim_range` of linux/fs.h.
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
    minimum: u64,
}

/// Trims the writable layer and the volumes, and says on standard output how many bytes that were. To be called before the container's
/// root is entered.
pub fn trim() -> Result<(), ArchiveError> {
    let mut trimmed = 0_u64;
    let all = std::iter::once(Path::new(UPPER).to_owned()).chain(volumes::mounted());
    for place in all {
        trimmed = trimmed.saturating_add(one(&place).map_err(ArchiveError::at(&*place))?);
    }
    write!(io::stdout(), "{trimmed}").map_err(ArchiveError::Write)
}

fn one(place: &Path) -> io::Result<u64> {
    let root = File::open(place)?;
    // What was deleted is free when the journal says so.
    rustix::fs::syncfs(&root)?;
    let mut range = Range {
        start: 0,
        length: u64::MAX,
        minimum: MINIMUM,
    };
    // SAFETY: FITRIM reads and writes one `fstrim_range`.
    if unsafe { libc::ioctl(root.as_raw_fd(), FITRIM, &raw mut range) } == 0 {
        return Ok(range.length);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // In memory, or read-only: nothing is the host's.
        Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::EROFS) => Ok(0),
        _ => Err(error),
    }
}
