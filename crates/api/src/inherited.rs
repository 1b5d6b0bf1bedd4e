//! Listening sockets that a parent has opened for a helper.
//!
//! A helper whose parent listens for it can be called before it has even started: nobody polls for its
//! socket. The convention is that of `sd_listen_fds(3)`: descriptors from 3 on, their number in a variable.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use tokio::net::UnixStream;

use crate::socket;

/// Number of listeners that follow standard error.
pub const VARIABLE: &str = "CONTAINER_LISTEN_FDS";
/// First of them.
pub const FIRST: RawFd = 3;

/// Number of further descriptors, which follow the listeners.
pub const FURTHER_VARIABLE: &str = "CONTAINER_FURTHER_FDS";

/// Number of a descriptor on which the apiserver says, by one byte, that it serves; absent: nobody waits for that.
pub const READY_VARIABLE: &str = "CONTAINER_READY_FD";

/// What a parent has handed over beside `listeners` listeners; nothing where it did not say so.
///
/// To be called once, at the start of `main`, before other descriptors are opened.
///
/// # Errors
/// As `fcntl(2)`.
pub fn further(listeners: usize) -> io::Result<Vec<OwnedFd>> {
    let count = std::env::var(FURTHER_VARIABLE)
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let mut descriptors = Vec::with_capacity(count);
    for descriptor in (FIRST..).skip(listeners).take(count) {
        // SAFETY: the parent promises by the variable that these descriptors are open and ours alone.
        let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
        rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
        descriptors.push(owned);
    }
    Ok(descriptors)
}

/// Standard input, where a parent has made that a socket.
///
/// # Errors
/// When it is no socket.
pub fn stdin_socket() -> io::Result<UnixStream> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stream = std::os::unix::net::UnixStream::from(stdin);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// The listeners of a helper: the inherited ones, else fresh ones at `paths`.
///
/// To be called once, at the start of `main`, before other descriptors are opened.
///
/// # Errors
/// As `bind(2)`; [`io::ErrorKind::InvalidInput`] when the parent opened another number than `paths` has.
pub fn listeners<const N: usize>(paths: [&Path; N]) -> io::Result<[UnixListener; N]> {
    let mut listeners = Vec::with_capacity(N);
    match std::env::var(VARIABLE) {
        Ok(count) if count.parse() == Ok(N) => {
            for descriptor in (FIRST..).take(N) {
                // SAFETY: the parent promises by the variable that these descriptors are open and ours alone.
                let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
                rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
                let listener = UnixListener::from(owned);
                listener.set_nonblocking(true)?;
                listeners.push(listener);
            }
        }
        Ok(count) => {
            let text = format!("{VARIABLE} is {count} where {N} listeners are needed");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Err(_) => {
            for path in paths {
                listeners.push(socket::bind(path)?);
            }
        }
    }
    listeners
        .try_into()
        .map_err(|_| io::ErrorKind::InvalidInput.into())
}
