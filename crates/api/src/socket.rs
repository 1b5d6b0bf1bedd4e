//! Unix sockets that only their owner (or root) may use.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::{Stream, StreamExt, wrappers::UnixListenerStream};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Endpoint, Uri};

use crate::protocol;
use crate::request::{Channel, Told};

/// Bytes of `sun_path` (`unix(7)`), with its closing NUL.
const SUN_PATH: usize = 108;

/// How long nothing is accepted after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// The largest message a server or client of the host takes, in bytes.
pub const MESSAGE_LIMIT: usize = 16 << 20;

/// Runs `f` with a name for `path` that fits `sun_path`, however long the path is.
fn with_short_path<T>(path: &Path, f: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().as_bytes().len() < SUN_PATH {
        return f(path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a socket path",
        ));
    };
    let directory = rustix::fs::open(
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    f(&short)
}

/// Listens at `path`, mode 0600, replacing a socket that a dead process left there.
///
/// The caller makes sure by a lock that no living process listens there.
///
/// # Errors
/// As `bind(2)`; [`io::ErrorKind::AlreadyExists`] when something other than a socket is in the way.
pub fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = with_short_path(path, |path| std::os::unix::net::UnixListener::bind(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether the process at the other end is this user's or root's (`SO_PEERCRED`).
pub fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

/// Connections of `listener` whose peer is trusted; others are closed without an answer. After one that could not be
/// accepted there is a pause: mostly there are no descriptors, and somebody has to close some.
pub fn incoming(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    UnixListenerStream::new(listener)
        .then(|connection| async {
            if connection.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            connection
        })
        .filter(|connection| connection.as_ref().map_or(true, is_trusted))
}

/// A connected channel to the server at `path`.
///
/// # Errors
/// As `connect(2)`: nobody listens, or the path is not there; [`io::ErrorKind::PermissionDenied`] when another user
/// listens.
pub fn connect(path: &Path) -> io::Result<Channel> {
    // The first connection is made here, so that a missing server is an io::Error with its errno.
    let first = open(path)?;
    let mut first = Some(first);
    let path = path.to_path_buf();
    let connector = tower::service_fn(move |_: Uri| {
        let ready = first.take();
        let path = path.clone();
        async move {
            let stream = match ready {
                Some(stream) => stream,
                None => open(&path)?,
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // The authority is never looked at on a Unix socket.
    let endpoint = Endpoint::from_static("http://container.invalid");
    let endpoint = endpoint
        .user_agent(protocol::USER_AGENT)
        .map_err(io::Error::other)?;
    let channel = endpoint.connect_with_connector_lazy(connector);
    Ok(InterceptedService::new(channel, Told))
}

/// A plain connection to `path`, at which nobody but this user or root listens: the path may lie where everybody can
/// create names.
///
/// # Errors
/// As `connect(2)`; [`io::ErrorKind::PermissionDenied`] when another user listens.
pub fn open(path: &Path) -> io::Result<UnixStream> {
    let stream = with_short_path(path, connect_at_once)?;
    let stream = UnixStream::from_std(stream)?;
    if is_trusted(&stream) {
        Ok(stream)
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is another user's", path.display()),
        ))
    }
}

/// Connects without waiting: where nobody takes connections and the queue is full, that is
/// [`io::ErrorKind::WouldBlock`].
fn connect_at_once(path: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn paths_longer_than_sun_path_work() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("d".repeat(200));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("s.sock");
        let listener = UnixListener::from_std(bind(&path).unwrap()).unwrap();
        let client = open(&path);
        let server = listener.accept().await;
        assert!(is_trusted(&client.unwrap()));
        server.unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s.sock");
        drop(bind(&path).unwrap());
        drop(bind(&path).unwrap());
        let file = scratch.path().join("f");
        std::fs::write(&file, "kept").unwrap();
        assert_eq!(
            bind(&file).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    }

    #[tokio::test]
    async fn a_server_that_takes_no_connection_holds_nobody_up() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s.sock");
        let listener = bind(&path).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match open(&path) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn connecting_to_nobody_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        assert!(connect(&scratch.path().join("absent")).is_err());
    }
}
