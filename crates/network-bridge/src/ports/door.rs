//! A TCP port of the host that is held all the time, and listens only while somebody answers behind it.
//!
//! A socket that is bound and does not listen keeps the port from others, and the kernel refuses connections to it: as a port does
//! behind which nobody is.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{Shutdown, sockopt};
use tokio::net::TcpListener;

/// Connections that wait to be taken.
const BACKLOG: i32 = 1024;

/// Such a port. It begins shut.
#[derive(Debug)]
pub struct Door {
    socket: OwnedFd,
    /// Another descriptor of the same socket; there while it listens.
    listener: Option<TcpListener>,
}

impl Door {
    /// Of a socket that is bound and listens.
    ///
    /// # Errors
    /// As `shutdown(2)`.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let mut door = Self {
            socket,
            listener: None,
        };
        door.shut()?;
        Ok(door)
    }

    /// What takes its connections; nothing while it is shut.
    pub const fn listener(&self) -> Option<&TcpListener> {
        self.listener.as_ref()
    }

    /// Takes connections from now on.
    ///
    /// # Errors
    /// As `listen(2)`.
    pub fn open(&mut self) -> io::Result<()> {
        if self.listener.is_none() {
            // What is left of connections before keeps the port as well, and is to be in nobody's way.
            sockopt::set_socket_reuseaddr(&self.socket, true)?;
            rustix::net::listen(&self.socket, BACKLOG)?;
            let other = rustix::io::fcntl_dupfd_cloexec(&self.socket, 3)?;
            self.listener = Some(TcpListener::from_std(other.into())?);
        }
        Ok(())
    }

    /// Refuses connections from now on. Those that were taken go on; those that nobody has taken yet are reset.
    ///
    /// # Errors
    /// As `shutdown(2)`.
    pub fn shut(&mut self) -> io::Result<()> {
        self.listener = None;
        // Otherwise whoever sets the same option could have the port beside a socket that does not listen (socket(7)).
        sockopt::set_socket_reuseaddr(&self.socket, false)?;
        Ok(rustix::net::shutdown(&self.socket, Shutdown::Read)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use rustix::net::{AddressFamily, SocketType};

    use super::*;
    use crate::ports::bind;
    use crate::ports::published::{Protocol, Published};

    /// Whether another program can have the port; most set the option.
    fn is_free(at: SocketAddr) -> bool {
        let plain = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        TcpListener::bind(at).is_ok() || rustix::net::bind(&plain, &at).is_ok()
    }

    #[tokio::test]
    async fn a_port_refuses_while_it_is_shut_and_is_nobody_else_s() {
        let bound = bind::bind(&Published {
            host_address: "127.0.0.1".parse().ok(),
            host_port: 0,
            container_port: 80,
            protocol: Protocol::Tcp,
        });
        let (at, socket) = bound.unwrap().sockets.remove(0);
        let mut door = Door::new(socket).unwrap();
        let connect = || TcpStream::connect(at);
        let mut kept = Vec::new();
        for _ in 0..3 {
            assert_eq!(connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
            assert!(!is_free(at));
            door.open().unwrap();
            let client = connect().unwrap();
            assert!(!is_free(at));
            let (server, _) = door.listener().unwrap().accept().await.unwrap();
            // One that is taken outlives it, one that was closed here is remembered by the kernel for a minute.
            kept.push((client, server));
            let client = connect().unwrap();
            drop(door.listener().unwrap().accept().await.unwrap());
            drop(client);
            door.shut().unwrap();
        }
        for (mut client, server) in kept {
            server.try_write(b"x").unwrap();
            let mut byte = [0];
            std::io::Read::read_exact(&mut client, &mut byte).unwrap();
        }
        drop(door);
        assert!(TcpListener::bind(at).is_ok());
    }
}
