//! What a file holds beside its bytes: where its holes are, and attributes.

use std::os::fd::OwnedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::tar::Run;

/// Bytes of all attributes of one file, at most: what Linux takes (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTRS_MAX: usize = 64 << 10;
/// Runs of one sparse file, at most. What comes behind is stored with its zeros.
const RUNS_MAX: usize = 4096;
/// Bytes of holes from which on a file is stored as a sparse one.
pub(super) const HOLES_MIN: u64 = 64 << 10;

/// Where `file` has data; nothing where it has hardly a hole, or its file system cannot tell.
pub(super) fn runs(file: &OwnedFd, size: u64) -> rustix::io::Result<Option<Vec<Run>>> {
    let mut runs = Vec::new();
    let (mut position, mut stored) = (0, 0);
    while position < size {
        let offset = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(offset) => offset.min(size),
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = if runs.len() + 1 < RUNS_MAX {
            rustix::fs::seek(file, SeekFrom::Hole(offset))?.clamp(offset, size)
        } else {
            size
        };
        if end > offset {
            runs.push(Run {
                offset,
                length: end - offset,
            });
            stored += end - offset;
        }
        position = end.max(position + 1);
    }
    // The end of a file that ends in a hole, as GNU's tar writes it.
    runs.push(Run {
        offset: size,
        length: 0,
    });
    Ok((size - stored >= HOLES_MIN).then_some(runs))
}

/// Attributes that mean the same in another place: those of users, access lists and file capabilities.
fn is_portable(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name == b"security.capability"
        || name.starts_with(b"system.posix_acl_")
}

pub(super) fn xattrs(file: &OwnedFd) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = vec![0; XATTRS_MAX];
    let length = match rustix::fs::flistxattr(file, &mut list) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    let mut value = Vec::new();
    for name in list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| is_portable(name))
    {
        value.resize(XATTRS_MAX, 0);
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(length) => attributes.push((name.to_vec(), value[..length].to_vec())),
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error),
        }
    }
    attributes.sort();
    Ok(attributes)
}
