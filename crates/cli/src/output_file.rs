//! A file that a user names and a command writes.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use container_archive::nameless;
use rustix::fs::{CWD, Mode, OFlags};

use crate::failure::Failure;

/// Most links on the way to a file, as in Linux itself.
const MAX_LINKS: u32 = 40;

/// Where the bytes go: a regular file is written beside its place and takes it only when it is complete; a named pipe
/// a character device (`/dev/null`) and a descriptor of this process (`/dev/stdout`) are written into. Anything else is refused, and never
/// replaced.
#[derive(Debug)]
pub enum OutputFile {
    /// A regular file, or a new one.
    Whole(Whole),
    /// What takes bytes as they come.
    Stream(OwnedFd),
}

/// A file beside the one that it is to become; removed again unless it does.
#[derive(Debug)]
pub struct Whole {
    /// Where it has a name already: its file system knows no others.
    temporary: Option<PathBuf>,
    file: File,
    target: PathBuf,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Nothing yet, or whatever it is.
    Path(PathBuf),
    /// A descriptor of this process, by its number.
    Descriptor(RawFd),
}

impl OutputFile {
    /// Opens what `path` leads to. Links are followed, to a file that is not there yet too.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = || format!("write {}", path.display());
        let target = match place(path).with_context(failed)? {
            Place::Descriptor(number) => {
                return Ok(Self::Stream(duplicate(number).with_context(failed)?));
            }
            Place::Path(target) => target,
        };
        let found = match fs::symlink_metadata(&target) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(anyhow!(error).context(failed()).into()),
        };
        let kind = found.as_ref().map(fs::Metadata::file_type);
        if kind.is_some_and(|kind| kind.is_fifo() || kind.is_char_device()) {
            // A pipe waits for a reader, as a shell does; `/dev/null` takes everything.
            let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
            let stream = rustix::fs::open(&target, flags, Mode::empty());
            return Ok(Self::Stream(stream.with_context(failed)?));
        }
        let refused = match kind {
            Some(kind) if kind.is_dir() => Some("a directory"),
            Some(kind) if kind.is_block_device() => Some("a block device"),
            Some(kind) if kind.is_socket() => Some("a socket"),
            _ => None,
        };
        if let Some(what) = refused {
            return Err(anyhow!("it is {what}").context(failed()).into());
        }
        let whole = Whole::create(target, found.as_ref());
        Ok(Self::Whole(whole.with_context(failed)?))
    }

    /// Whether the bytes go to standard output.
    pub fn is_standard_output(path: &Path) -> bool {
        matches!(place(path), Ok(Place::Descriptor(1)))
    }

    /// Everything is written: a regular file takes its place.
    pub fn keep(self) -> Result<(), Failure> {
        match self {
            Self::Stream(_) => Ok(()),
            Self::Whole(whole) => {
                let kept = whole.keep();
                Ok(kept.with_context(|| format!("write {}", whole.target.display()))?)
            }
        }
    }
}

impl AsFd for OutputFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Whole(whole) => whole.file.as_fd(),
            Self::Stream(stream) => stream.as_fd(),
        }
    }
}

impl Whole {
    /// With owner and mode of the file that is `replaced`, or those of a new file.
    fn create(target: PathBuf, replaced: Option<&fs::Metadata>) -> io::Result<Self> {
        // For its place alone: one that can be written to need not be readable.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent(&target), flags, Mode::empty())?;
        let new = Mode::from_raw_mode(0o666);
        let (temporary, file) = if let Some(file) = nameless::create(&directory, new)? {
            (None, File::from(file))
        } else {
            let temporary = beside(&target);
            let mut options = File::options();
            let file = options.write(true).create_new(true).open(&temporary)?;
            (Some(temporary), file)
        };
        let whole = Self {
            temporary,
            file,
            target,
        };
        if let Some(replaced) = replaced {
            // Only root can give a file away, and nobody else has to: it is theirs.
            let _ = fchown(&whole.file, Some(replaced.uid()), Some(replaced.gid()));
            let mode = Permissions::from_mode(replaced.mode() & 0o7777);
            whole.file.set_permissions(mode)?;
        }
        Ok(whole)
    }

    fn keep(&self) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(temporary) = &self.temporary {
            return fs::rename(temporary, &self.target);
        }
        let file = self.file.as_fd().try_clone_to_owned()?;
        let link = |path: &Path| {
            let name = CString::new(path.as_os_str().as_bytes())?;
            Ok::<_, io::Error>(nameless::link(&file, CWD, &name)?)
        };
        match link(&self.target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let temporary = beside(&self.target);
                link(&temporary)?;
                fs::rename(&temporary, &self.target).inspect_err(|_| {
                    // The first error is the one to tell.
                    let _ = fs::remove_file(&temporary);
                })
            }
            linked => linked,
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Gone already when it was kept.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// The directory that `target` is in.
fn parent(target: &Path) -> &Path {
    let parent = target.parent();
    parent
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// A name beside `target` that no other file has.
fn beside(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{}", uuid::Uuid::new_v4()));
    PathBuf::from(name)
}

/// Follows links one by one, to see whether they lead to a descriptor of this process: what stands behind that may
/// have no name, or one that means another file by now.
fn place(path: &Path) -> io::Result<Place> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return Ok(Place::Path(path));
        };
        let directory = match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        let directory = fs::canonicalize(directory)?;
        let own = Path::new("/proc").join(std::process::id().to_string());
        if directory == own.join("fd") {
            let number = name.to_str().and_then(|name| name.parse().ok());
            return Ok(Place::Descriptor(number.ok_or(io::ErrorKind::NotFound)?));
        }
        path = directory.join(name);
        match fs::read_link(&path) {
            Ok(link) => path = directory.join(link),
            // No link, or nothing.
            Err(_) => return Ok(Place::Path(path)),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// A descriptor of this process once more.
fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{number}");
    fs::symlink_metadata(&path)?;
    // SAFETY: it is open, as the line above has seen, and nothing in this process closes a descriptor that it was
    // started with; the borrow ends with this function.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path, text: &str) -> Result<(), Failure> {
        let output = OutputFile::open(path)?;
        File::from(output.as_fd().try_clone_to_owned().unwrap())
            .write_all(text.as_bytes())
            .unwrap();
        output.keep()
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_complete_and_keeps_its_mode() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        write(&path, "one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        // One that fails leaves the old one.
        drop(OutputFile::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        write(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names(scratch.path()), ["f"]);
    }

    #[test]
    fn a_directory_need_not_be_readable() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o333)).unwrap();
        let written = std::thread::spawn({
            let path = path.clone();
            move || {
                // Of this thread alone: root could read it.
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(if_root(65534)));
                assert!(fs::read_dir(path.parent().unwrap()).is_err());
                write(&path, "one").and_then(|()| write(&path, "two"))
            }
        });
        written.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(names(scratch.path()), ["f"]);
    }

    /// `user` where root runs the tests, else who runs them.
    fn if_root(user: u32) -> u32 {
        match rustix::process::geteuid().as_raw() {
            0 => user,
            own => own,
        }
    }

    #[test]
    fn links_are_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("d")).unwrap();
        symlink("d/real", at("to-nothing")).unwrap();
        symlink(at("to-nothing"), at("twice")).unwrap();
        symlink("loop", at("loop")).unwrap();
        write(&at("twice"), "one").unwrap();
        assert_eq!(fs::read_to_string(at("d/real")).unwrap(), "one");
        write(&at("to-nothing"), "two").unwrap();
        assert_eq!(fs::read_to_string(at("d/real")).unwrap(), "two");
        assert!(fs::symlink_metadata(at("twice")).unwrap().is_symlink());
        assert!(OutputFile::open(&at("loop")).is_err());
        assert!(OutputFile::open(&at("absent/x")).is_err());
    }

    #[test]
    fn what_is_no_regular_file_is_written_into_or_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let fifo = at("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read_to_string(fifo).unwrap()
        });
        write(&fifo, "through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());

        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        for null in [PathBuf::from("/dev/null"), at("null")] {
            write(&null, "nothing").unwrap();
            let kind = fs::metadata(&null).unwrap().file_type();
            assert!(kind.is_char_device());
        }
        for (path, what) in [(at("."), "a directory"), (at("socket"), "a socket")] {
            let error = OutputFile::open(&path).unwrap_err();
            assert!(format!("{error:?}").contains(what), "{error:?}");
        }
        assert_eq!(names(scratch.path()), ["fifo", "null", "socket"]);
    }

    #[test]
    fn a_descriptor_of_this_process_is_written_into() {
        let scratch = tempfile::tempdir().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let link = scratch.path().join("link");
        symlink(format!("/dev/fd/{number}"), &link).unwrap();
        write(&link, "bytes").unwrap();
        let mut text = String::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "bytes");
        assert!(OutputFile::is_standard_output(Path::new("/dev/stdout")));
        assert!(!OutputFile::is_standard_output(&link));
        assert!(OutputFile::open(Path::new("/dev/fd/9999")).is_err());
    }
}
