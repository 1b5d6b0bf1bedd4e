//! Files that have no name before they are whole (`O_TMPFILE` of `open(2)`): if the writer is killed, nothing is left.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// A new file of `directory`, with `mode` as far as the process's mask leaves it; nothing where its file system knows none without a name.
///
/// # Errors
/// As `open(2)`.
pub fn create(directory: impl AsFd, mode: Mode) -> rustix::io::Result<Option<OwnedFd>> {
    // The directory may have been opened for its place alone.
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, c".", flags, mode) {
        Ok(file) => Ok(Some(file)),
        // Each of them is what some file systems and kernels say.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives `file`, which [`create`] has made, its name.
///
/// # Errors
/// [`Errno::EXIST`] where there is something of that name; others as `linkat(2)`.
pub fn link(file: &OwnedFd, directory: impl AsFd, name: &CStr) -> rustix::io::Result<()> {
    let directory = directory.as_fd();
    match rustix::fs::linkat(file, c"", directory, name, AtFlags::EMPTY_PATH) {
        // Who has not the power to do it so (CAP_DAC_READ_SEARCH, before Linux 6.10) is told that there is nothing.
        Err(Errno::NOENT | Errno::PERM) => {
            let own = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, own, directory, name, AtFlags::SYMLINK_FOLLOW)
        }
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_there_when_it_has_its_name() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = fs::File::open(scratch.path()).unwrap();
        let count = || fs::read_dir(scratch.path()).unwrap().count();
        let Some(file) = create(&directory, Mode::RUSR).unwrap() else {
            return;
        };
        rustix::io::write(&file, b"whole").unwrap();
        assert_eq!(count(), 0);
        link(&file, &directory, c"f").unwrap();
        assert_eq!(fs::read(scratch.path().join("f")).unwrap(), b"whole");
        assert_eq!(link(&file, &directory, c"f"), Err(Errno::EXIST));
        drop(create(&directory, Mode::RUSR).unwrap());
        assert_eq!(count(), 1);
    }
}
