//! Whether somebody listens at a Unix socket, without connecting to it.

use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, socketpair,
};

/// Whether somebody takes connections of streams at `path`. Nobody there learns of the question: it is asked with a socket that is
/// connected already. Linux looks for the listener first (`unix_stream_connect`, `net/unix/af_unix.c`), and answers with `EISCONN`
/// where there is one.
pub fn listens(path: &Path) -> bool {
    let asked = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, _other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)
    };
    // AGAIN: its queue is full, and it will take some of them.
    matches!(asked(), Err(Errno::ISCONN | Errno::AGAIN))
}

/// Whether a process has the socket at `path`, be it that it listens or that it does not yet. Nobody there learns of it.
///
/// # Errors
/// When that cannot be known.
pub fn is_held(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    // A socket of streams is of another type, which is said where there is a socket behind the file at all.
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::PROTOTYPE) => Ok(true),
        Err(Errno::CONNREFUSED) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_listener_is_seen_and_learns_of_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s");
        assert!(!listens(&path) && is_held(&path).is_err());
        let flags = SocketFlags::CLOEXEC;
        let bound = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        rustix::net::bind(&bound, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        assert!(!listens(&path) && is_held(&path).unwrap());
        rustix::net::listen(&bound, 0).unwrap();
        assert!(listens(&path) && is_held(&path).unwrap());
        let listener = UnixListener::from(bound);
        listener.set_nonblocking(true).unwrap();
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // One that is busy listens, too.
        let _waiting = UnixStream::connect(&path).unwrap();
        assert!(listens(&path));
        drop(listener);
        assert!(!listens(&path) && !is_held(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let _other = UnixDatagram::bind(&path).unwrap();
        assert!(!listens(&path) && is_held(&path).unwrap());
    }
}
