//! Sockets on the host that lead to a container.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use container_api::listening::is_held;
use container_resource::publish_socket::PATH_MAX;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};

/// For its owner alone, unless something else was asked for.
const MODE: RawMode = 0o600;

/// Connections that wait to be taken, at most.
const BACKLOG: i32 = 4096;

/// How the names begin that sockets have before they are found.
const HIDDEN: &str = ".container-";

/// How many entries of a directory are looked at for sockets that were left behind.
const MOST_ENTRIES: usize = 4096;

/// Seconds within which a socket is listened at.
const IN_THE_MAKING: u64 = 60;

/// How often a socket may come to be at the path while another one is taken away.
const TRIES: usize = 8;

/// Why a socket cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The directory is not there, or cannot be looked into.
    #[error("the directory of the socket {}", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Something that is not ours to replace.
    #[error("there is something at {} that is no socket", .0.display())]
    NoSocket(PathBuf),
    /// Somebody has it, and listens there or may.
    #[error("somebody listens at {} already", .0.display())]
    InUse(PathBuf),
    /// Not a path for a socket.
    #[error("{} is no path for a socket", .0.display())]
    Path(PathBuf),
    /// The kernel refuses.
    #[error("listen at {}", path.display())]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A socket of the host; its name is removed when this is dropped, unless it has become another's. Whoever connects is refused
/// until it is [opened](Self::open).
#[derive(Debug)]
pub struct Published {
    socket: OwnedFd,
    directory: OwnedFd,
    name: PathBuf,
    mode: RawMode,
    identity: (u64, u64),
}

impl Published {
    /// Takes `path`. A socket that no process has any more is replaced, and nothing else.
    pub fn at(path: &Path, mode: Option<u32>) -> Result<Self, BindError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(BindError::Path(path.to_owned()));
        };
        if path.as_os_str().as_bytes().len() > PATH_MAX || !path.is_absolute() {
            return Err(BindError::Path(path.to_owned()));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty()).map_err(|source| {
            BindError::Directory {
                path: path.to_owned(),
                source: source.into(),
            }
        })?;
        let failed = |source: io::Error| BindError::Listen {
            path: path.to_owned(),
            source,
        };
        let mode = mode.unwrap_or(MODE);
        let new = New::bind(&directory, mode).map_err(failed)?;
        for _ in 0..TRIES {
            match new.link(name.as_ref()) {
                Ok(()) => {
                    let identity = new.identity().map_err(failed)?;
                    return Ok(Self {
                        socket: new.socket.try_clone().map_err(failed)?,
                        directory: directory.try_clone().map_err(failed)?,
                        name: name.into(),
                        mode,
                        identity,
                    });
                }
                Err(Errno::EXIST) => {
                    clear(&directory, name.as_ref(), path).map_err(|error| match error {
                        Clear::NoSocket => BindError::NoSocket(path.to_owned()),
                        Clear::InUse => BindError::InUse(path.to_owned()),
                        Clear::Failed(error) => failed(error.into()),
                    })?;
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
        Err(BindError::InUse(path.to_owned()))
    }
}

impl Published {
    /// Listens from now on; gives the listening socket.
    ///
    /// # Errors
    /// As `listen(2)`, and when there are no descriptors left.
    pub fn open(&self) -> io::Result<OwnedFd> {
        rustix::net::listen(&self.socket, BACKLOG)?;
        self.socket.try_clone()
    }

    /// Whoever connects from now on is refused; who was not taken yet is given up. A socket that has listened once cannot stop and
    /// begin again, so another one comes in its place.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the name has become another's: nobody finds the socket any more, and it does not listen.
    pub fn close(&mut self) -> io::Result<()> {
        // At once, and whoever has the listener.
        rustix::net::shutdown(&self.socket, Shutdown::Read)?;
        let new = New::bind(&self.directory, self.mode)?;
        let identity = new.identity()?;
        if !self.is_there() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let directory = &self.directory;
        rustix::fs::renameat(directory, &new.name, directory, &self.name)?;
        self.identity = identity;
        self.socket = new.socket.try_clone()?;
        Ok(())
    }

    /// Whether its name is still its own.
    fn is_there(&self) -> bool {
        let found = rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| identity(&found) == self.identity)
    }

    /// What processes that were killed may have left beside it.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn leftovers(&self) -> io::Result<Leftovers> {
        self.directory.try_clone().map(Leftovers)
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        if self.is_there() {
            // Whoever removes it meanwhile does what we want.
            let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// A socket under a name that nobody knows; that name is removed when this is dropped.
struct New<'a> {
    socket: OwnedFd,
    directory: &'a OwnedFd,
    name: PathBuf,
}

impl<'a> New<'a> {
    fn bind(directory: &'a OwnedFd, mode: RawMode) -> io::Result<Self> {
        let name = hidden_name()?;
        let mode = Mode::from_raw_mode(mode & 0o777);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Linux gives the file the socket's own mode, without the bits of the umask: nobody else can connect before it is set.
        rustix::fs::fchmod(&socket, mode)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(below(directory, &name))?)?;
        let new = Self {
            socket,
            directory,
            name,
        };
        new.set_mode(mode)?;
        Ok(new)
    }

    /// Gives back what the umask has taken. The directory may be another user's, too, who puts something else in its place.
    fn set_mode(&self, mode: Mode) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.directory, &self.name, flags, Mode::empty())?;
        let found = rustix::fs::fstat(&file)?;
        if !is_own_socket(&found) {
            return Err(Errno::PERM.into());
        }
        if Mode::from_raw_mode(found.st_mode) != mode {
            let this = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::chmod(this, mode)?;
        }
        Ok(())
    }

    fn link(&self, name: &Path) -> rustix::io::Result<()> {
        let directory = self.directory;
        rustix::fs::linkat(directory, &self.name, directory, name, AtFlags::empty())
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        let found = rustix::fs::statat(self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(identity(&found))
    }
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(self.directory, &self.name, AtFlags::empty());
    }
}

/// Sockets that processes which were killed have left in a directory, by the names that they have before they are found.
#[derive(Debug)]
pub struct Leftovers(OwnedFd);

impl Leftovers {
    /// Removes them. A directory may be large or hang, so nobody is to wait for this.
    pub fn remove(&self) {
        let Self(directory) = self;
        // A directory that may not be listed is not ours to tidy.
        let entries = std::fs::read_dir(below(directory, Path::new("")));
        for entry in entries.into_iter().flatten().take(MOST_ENTRIES).flatten() {
            let name = PathBuf::from(entry.file_name());
            if !is_hidden(&name) {
                continue;
            }
            let found = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW);
            let is_left = found.is_ok_and(|found| is_own_socket(&found) && is_old(&found));
            if is_left && is_stale(directory, &name) {
                // Another one that tidies may be first.
                let _ = rustix::fs::unlinkat(directory, &name, AtFlags::empty());
            }
        }
    }
}

fn is_own_socket(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Socket
        && found.st_uid == rustix::process::geteuid().as_raw()
}

/// Whether nobody can be about to listen there.
fn is_old(found: &Stat) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let made = u64::try_from(found.st_mtime).unwrap_or(0);
    now.is_ok_and(|now| now.as_secs().saturating_sub(made) > IN_THE_MAKING)
}

enum Clear {
    NoSocket,
    InUse,
    Failed(Errno),
}

/// Takes away a socket that no process has. It is moved aside and looked at once more: another one may have come meanwhile.
fn clear(directory: &OwnedFd, name: &Path, path: &Path) -> Result<(), Clear> {
    let found = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Clear::Failed(error)),
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(Clear::NoSocket);
    }
    if !is_stale(directory, name) {
        return Err(Clear::InUse);
    }
    let aside = hidden_name().map_err(|_| Clear::Failed(Errno::IO))?;
    match rustix::fs::renameat(directory, name, directory, &aside) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Clear::Failed(error)),
    }
    if is_stale(directory, &aside) {
        rustix::fs::unlinkat(directory, &aside, AtFlags::empty()).map_err(Clear::Failed)
    } else {
        tracing::info!("somebody has begun to listen at {}", path.display());
        let put_back = rustix::fs::linkat(directory, &aside, directory, name, AtFlags::empty());
        // Where a third one has come, there is no place for it.
        let _ = rustix::fs::unlinkat(directory, &aside, AtFlags::empty());
        put_back.map_err(Clear::Failed)?;
        Err(Clear::InUse)
    }
}

/// Whether no process has the socket `name`. One that does not listen may be about to: so does what another container publishes.
fn is_stale(directory: &OwnedFd, name: &Path) -> bool {
    is_held(&below(directory, name)).is_ok_and(|held| !held)
}

/// A path that is short, however long the directory's is.
fn below(directory: &OwnedFd, name: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name)
}

fn hidden_name() -> io::Result<PathBuf> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{HIDDEN}{:016x}", u64::from_ne_bytes(random)).into())
}

/// Whether [`hidden_name`] gives such names.
fn is_hidden(name: &Path) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(HIDDEN));
    digits.is_some_and(|digits| digits.len() == 16 && u64::from_str_radix(digits, 16).is_ok())
}

fn identity(found: &Stat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_is_its_owner_s_and_leaves_with_its_keeper() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s");
        let published = Published::at(&path, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
        drop(published);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        let open = Published::at(&path, Some(0o666)).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o666);
        // What has become another's stays.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "other").unwrap();
        drop(open);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "other");
    }

    #[test]
    fn who_connects_is_refused_until_it_is_opened_and_after_it_is_closed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s");
        let refused = |path: &Path| {
            let error = UnixStream::connect(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        };
        let mut published = Published::at(&path, Some(0o666)).unwrap();
        for _ in 0..3 {
            refused(&path);
            let listener = UnixListener::from(published.open().unwrap());
            let client = UnixStream::connect(&path).unwrap();
            listener.set_nonblocking(false).unwrap();
            listener.accept().unwrap();
            // Whoever still has the listener.
            published.close().unwrap();
            refused(&path);
            assert!(listener.accept().is_err());
            drop(client);
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o666);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
        // What has become another's stays.
        std::fs::remove_file(&path).unwrap();
        let _listener = published.open().unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        let error = published.close().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        drop(published);
        UnixStream::connect(&path).unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_another_one_put_in_its_place_keeps_its_mode() {
        let scratch = tempfile::tempdir().unwrap();
        let victim = scratch.path().join("victim");
        std::fs::write(&victim, "").unwrap();
        std::fs::set_permissions(&victim, PermissionsExt::from_mode(0o600)).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = rustix::fs::open(scratch.path(), flags, Mode::empty()).unwrap();
        let new = New::bind(&directory, 0o666).unwrap();
        let place = scratch.path().join(&new.name);
        std::fs::remove_file(&place).unwrap();
        std::os::unix::fs::symlink("victim", &place).unwrap();
        let error = new.set_mode(Mode::from_raw_mode(0o666)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let mode = std::fs::metadata(&victim).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_in_use_or_no_socket_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s");
        // Left behind by a process that was killed.
        drop(UnixListener::bind(&path).unwrap());
        let published = Published::at(&path, None).unwrap();
        let second = Published::at(&path, None);
        assert!(matches!(second, Err(BindError::InUse(_))), "{second:?}");
        let _listener = published.open().unwrap();
        let second = Published::at(&path, None);
        assert!(matches!(second, Err(BindError::InUse(_))), "{second:?}");
        UnixStream::connect(&path).unwrap();
        drop(published);
        std::fs::write(&path, "kept").unwrap();
        assert!(matches!(
            Published::at(&path, None),
            Err(BindError::NoSocket(_))
        ));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
        // A link is no socket, wherever it leads.
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(
            Published::at(&link, None),
            Err(BindError::NoSocket(_))
        ));
    }

    #[test]
    fn what_the_killed_have_left_is_swept() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let age = |path: &Path| {
            let long_ago = rustix::fs::Timespec {
                tv_sec: 1_000_000_000,
                tv_nsec: 0,
            };
            let times = rustix::fs::Timestamps {
                last_access: long_ago,
                last_modification: long_ago,
            };
            rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
                .unwrap();
        };
        let (left, new, used) = (
            at(".container-0123456789abcdef"),
            at(".container-0123456789abcde0"),
            at(".container-0123456789abcde1"),
        );
        let (file, other) = (at(".container-0123456789abcde2"), at(".container-x"));
        for path in [&left, &new, &other] {
            drop(UnixListener::bind(path).unwrap());
        }
        let _listener = UnixListener::bind(&used).unwrap();
        std::fs::write(&file, "").unwrap();
        for path in [&left, &used, &file, &other] {
            age(path);
        }
        let published = Published::at(&at("s"), None).unwrap();
        assert!(left.exists());
        published.leftovers().unwrap().remove();
        assert!(!left.exists());
        assert!(
            [&new, &used, &file, &other]
                .iter()
                .all(|path| path.exists())
        );
        drop(published);
    }

    #[test]
    fn the_directory_must_be_there() {
        let scratch = tempfile::tempdir().unwrap();
        let error = Published::at(&scratch.path().join("none/s"), None).unwrap_err();
        assert!(matches!(error, BindError::Directory { .. }), "{error}");
        let error = Published::at(Path::new("/"), None).unwrap_err();
        assert!(matches!(error, BindError::Path(_)), "{error}");
    }
}
