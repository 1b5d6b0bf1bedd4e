//! Regular files, opened so that nothing in their place can block, mislead or fill memory.
//!
//! A directory of state may hold anything: what a broken restore, a full disk or another program left there. Opening a
//! FIFO waits for its other end, opening a device acts on it, and a file may be larger than memory. Whoever reads or
//! writes state opens it here.

mod holes;
mod room;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

pub use holes::{data_after, tells_of_holes};
pub use room::{free_around, free_at};

/// What becomes of a symbolic link in a file's place. Links on the way to it are followed in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It leads to the file: configuration that its user keeps elsewhere.
    Follow,
    /// It is an error: nothing of ours makes one there.
    Refuse,
}

/// Opens the regular file at `path` for reading.
///
/// # Errors
/// As `open(2)`; [`io::ErrorKind::InvalidData`] when something else is in its place.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    open_as(path, OFlags::RDONLY, links)
}

/// Reads the regular file at `path`, of at most `limit` bytes.
///
/// # Errors
/// As [`open`] and `read(2)`; [`io::ErrorKind::InvalidData`] when it is larger.
pub fn read(path: &Path, limit: u64, links: Links) -> io::Result<Vec<u8>> {
    let file = open(path, links)?;
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        Ok(bytes)
    } else {
        let text = format!("larger than {limit} bytes");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

/// As [`read`], for text.
///
/// # Errors
/// As [`read`]; [`io::ErrorKind::InvalidData`] when it is not UTF-8.
pub fn read_text(path: &Path, limit: u64, links: Links) -> io::Result<String> {
    String::from_utf8(read(path, limit, links)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Opens the regular file at `path` for reading and for writing at its end, made with mode 0600 when it is missing.
///
/// # Errors
/// As [`open`].
pub fn append(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
    open_as(path, flags, Links::Refuse)
}

/// Bytes from which on a log is not gone on with: see [`log`].
pub const LOG_LIMIT: u64 = 4 << 20;

/// As [`append`], for what a program's messages go to. A log that has grown past 4 MiB becomes the previous one, `<path>.1`,
/// and a new one begins: whoever is started again and again fills no disk.
///
/// # Errors
/// As [`append`] and `rename(2)`.
pub fn log(path: &Path) -> io::Result<File> {
    let file = append(path)?;
    if file.metadata()?.len() <= LOG_LIMIT {
        return Ok(file);
    }
    let mut previous = path.as_os_str().to_owned();
    previous.push(".1");
    std::fs::rename(path, previous)?;
    append(path)
}

/// Makes an empty file at `path`, mode 0600, in the place of whatever file was there.
///
/// # Errors
/// As `unlink(2)` and `open(2)`, a directory in its place among them.
pub fn create(path: &Path) -> io::Result<File> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn open_as(path: &Path, flags: OFlags, links: Links) -> io::Result<File> {
    let follow = match links {
        Links::Follow => rustix::fs::AtFlags::empty(),
        Links::Refuse => rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    };
    // Looked at first: a device may act on being opened, whatever becomes of it.
    match rustix::fs::statat(CWD, path, follow) {
        Ok(found) => check(found.st_mode)?,
        Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => {}
        Err(error) => return Err(error.into()),
    }
    let mut flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if links == Links::Refuse {
        flags |= OFlags::NOFOLLOW;
    }
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    // It may have been put there since. To a regular file NONBLOCK means nothing.
    check(rustix::fs::fstat(&file)?.st_mode)?;
    Ok(file.into())
}

fn check(mode: u32) -> io::Result<()> {
    let what = match FileType::from_raw_mode(mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    };
    let text = format!("{what} is in the place of the file");
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// One of each kind that is no regular file, in `directory`.
    fn intruders(directory: &Path) -> Vec<std::path::PathBuf> {
        let at = |name: &str| directory.join(name);
        rustix::fs::mkfifoat(CWD, at("fifo"), Mode::RWXU).unwrap();
        // The name stays when the listener has gone.
        drop(UnixListener::bind(at("socket")).unwrap());
        std::fs::create_dir(at("directory")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        symlink("absent", at("dangling")).unwrap();
        symlink("circular", at("circular")).unwrap();
        [
            "fifo",
            "socket",
            "directory",
            "device",
            "dangling",
            "circular",
        ]
        .map(at)
        .into()
    }

    #[test]
    fn nothing_in_a_files_place_is_waited_for() {
        let scratch = tempfile::tempdir().unwrap();
        for path in intruders(scratch.path()) {
            for links in [Links::Follow, Links::Refuse] {
                read(&path, 10, links).unwrap_err();
            }
            append(&path).unwrap_err();
        }
        // Nor made through a link.
        assert!(!scratch.path().join("absent").exists());
        let error = open(&scratch.path().join("fifo"), Links::Refuse).unwrap_err();
        assert_eq!(error.to_string(), "a FIFO is in the place of the file");
    }

    #[test]
    fn a_new_file_replaces_what_is_no_directory() {
        let scratch = tempfile::tempdir().unwrap();
        for path in intruders(scratch.path()) {
            if path.ends_with("directory") {
                create(&path).unwrap_err();
                continue;
            }
            create(&path).unwrap().write_all(b"new").unwrap();
            assert_eq!(read(&path, 3, Links::Refuse).unwrap(), b"new");
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_long_log_becomes_the_previous_one() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        for _ in 0..3 {
            let mut file = log(&path).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 0);
            file.write_all(b"kept").unwrap();
            let again = log(&path).unwrap();
            assert_eq!(again.metadata().unwrap().len(), 4);
            again.set_len(LOG_LIMIT + 1).unwrap();
        }
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2);
    }

    #[test]
    fn links_are_followed_where_they_may_be_and_sizes_are_bounded() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, link) = (scratch.path().join("file"), scratch.path().join("link"));
        append(&path).unwrap().write_all(b"12345").unwrap();
        symlink("file", &link).unwrap();
        assert_eq!(read_text(&link, 5, Links::Follow).unwrap(), "12345");
        read(&link, 5, Links::Refuse).unwrap_err();
        let error = read(&path, 4, Links::Refuse).unwrap_err();
        assert_eq!(error.to_string(), "larger than 4 bytes");
        // A hole of a terabyte takes neither time nor memory.
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        read(&path, 1 << 10, Links::Refuse).unwrap_err();
        std::fs::write(&path, [0xff]).unwrap();
        read_text(&path, 5, Links::Refuse).unwrap_err();
    }
}
