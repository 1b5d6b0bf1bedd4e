//! Events that the kernel tells to whoever is in a group (netlink(7)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{Protocol, SocketFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::{LONGEST, socket};

/// A member of some groups.
#[derive(Debug)]
pub struct Group {
    socket: AsyncFd<OwnedFd>,
    bytes: Vec<u8>,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'m> {
    /// Messages, one behind the other.
    Messages(&'m [u8]),
    /// More happened than the kernel keeps: some of it nobody hears.
    Overflow,
    /// Nothing until then.
    Silence,
}

impl Group {
    /// A member of the groups whose bits are set in `groups`, from now on.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn join(protocol: Option<Protocol>, groups: u32) -> io::Result<Self> {
        let socket = socket(protocol, groups, SocketFlags::NONBLOCK)?;
        // SAFETY: an OwnedFd names one open description as long as it lives.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        Ok(Self {
            socket,
            bytes: vec![0; LONGEST],
        })
    }

    /// What comes next, until `end` if there is one. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// As `read(2)`.
    pub async fn hear(&mut self, end: Option<Instant>) -> io::Result<Heard<'_>> {
        loop {
            let readable = self.socket.readable();
            let mut ready = match end {
                None => readable.await?,
                Some(end) => match tokio::time::timeout_at(end, readable).await {
                    Ok(ready) => ready?,
                    Err(_) => return Ok(Heard::Silence),
                },
            };
            let bytes = &mut self.bytes;
            match ready.try_io(|socket| Ok(rustix::io::read(socket, &mut *bytes)?)) {
                Ok(Ok(length)) => return Ok(Heard::Messages(&self.bytes[..length])),
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    return Ok(Heard::Overflow);
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Leaves out what was told until now.
    pub fn skip(&mut self) {
        loop {
            match rustix::io::read(self.socket.get_ref(), &mut self.bytes) {
                Ok(_) | Err(Errno::NOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}
