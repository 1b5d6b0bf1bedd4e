//! Errors, as a guest is to see them.

use std::ffi::CStr;
use std::io;

use rustix::io::Errno;

/// The same error with a number of the system's. An owner that the map has not is refused without one, which the guest would be told of as
/// EIO, as of a broken disk.
pub fn numbered(error: io::Error) -> io::Error {
    if error.raw_os_error().is_none() && error.kind() == io::ErrorKind::PermissionDenied {
        Errno::PERM.into()
    } else {
        error
    }
}

/// Why the attribute `name` is not to be had. The file server opens the file for it, which it may not be allowed to; only a user's attributes need that
/// right (`xattr`(7)), and `ls -l` asks for others.
pub fn unreadable(name: &CStr, error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::ACCESS) if !name.to_bytes().starts_with(b"user.") => Errno::NODATA.into(),
        _ => numbered(error),
    }
}
