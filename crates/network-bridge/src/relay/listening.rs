//! Whether somebody listens at a port of a container, without a word to whoever does.
//!
//! A connection is begun and not completed: the rules of the network's namespace keep the last segment of the handshake back, by the
//! mark of the socket, so the container's kernel answers, and its program learns of nothing. It costs both sides a few packets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The mark of sockets whose handshakes are not completed: the letters `ask`.
pub const MARK: u32 = 0x0061_736b;
/// How long the container's kernel may take to answer: one that is paused, or starts, does not.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks a container; one thing at a time.
#[derive(Debug)]
pub struct Question {
    socket: OwnedFd,
    to: SocketAddr,
}

/// What the container's kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Somebody listens.
    Listens,
    /// Nobody does.
    Refused,
    /// Nothing: it is paused, starts, or has too much to do.
    Nothing,
}

impl Question {
    /// By `socket`, a TCP socket with [`MARK`] that does not block.
    pub const fn new(socket: OwnedFd, to: SocketAddr) -> Self {
        Self { socket, to }
    }

    /// Asks.
    ///
    /// # Errors
    /// When the socket can't be used any more.
    pub async fn ask(&self) -> io::Result<Said> {
        let said = match rustix::net::connect(&self.socket, &self.to) {
            Ok(()) => Ok(Said::Listens),
            Err(Errno::INPROGRESS) => {
                let answered = tokio::time::timeout(PATIENCE, self.answer());
                answered.await.unwrap_or(Ok(Said::Nothing))
            }
            Err(errno) => heard(errno),
        };
        // The container's kernel is told that nothing comes of it.
        rustix::net::connect_unspec(&self.socket)?;
        said
    }

    async fn answer(&self) -> io::Result<Said> {
        let interest = Interest::WRITABLE;
        // One for each question: a socket that is connected to nobody is hung up, and what is seen so once stays so here.
        // SAFETY: the descriptor is open as long as this is borrowed.
        let socket = unsafe { AsyncFd::register_with_interest(self.socket.as_fd(), interest)? };
        loop {
            let mut ready = socket.writable().await?;
            if let Err(errno) = rustix::net::sockopt::socket_error(&self.socket)? {
                return heard(errno);
            }
            if rustix::net::getpeername(&self.socket).is_ok_and(|peer| peer.is_some()) {
                return Ok(Said::Listens);
            }
            ready.clear_ready();
        }
    }
}

/// What an error says of the container, rather than of this socket.
fn heard(errno: Errno) -> io::Result<Said> {
    match errno {
        Errno::CONNREFUSED => Ok(Said::Refused),
        Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::TIMEDOUT
        | Errno::HOSTDOWN
        | Errno::ACCESS
        | Errno::PERM
        | Errno::ADDRNOTAVAIL => Ok(Said::Nothing),
        errno => Err(errno.into()),
    }
}
