//! Standard streams of processes and connections of Unix sockets on the guest channel.
//!
//! Beside the calls of `proto/guest.proto`, the same HTTP/2 connection carries the bytes of processes as bodies of
//! plain requests, one per stream: `POST /stdin/<process>`, `GET /stdout/<process>`, `GET /stderr/<process>`. They
//! have no structure that messages could show, and would be copied once more into and out of each. A refusal has the
//! headers of a gRPC status.
//!
//! A connection of a Unix socket is one request whose two bodies are what its two sides say ([`crate::relay`]):
//! `POST /connect/<index>` connects to a socket of the container, and is answered when that has taken the connection;
//! `POST /tcp/<address>/<port>` connects to a port of one of the container's loopback addresses, and
//! `POST /udp/<address>/<port>` carries datagrams to one, and back ([`crate::datagrams`]);
//! `POST /accept/<index>` is answered when somebody in the container has connected to one that leads to the host.

use std::net::{IpAddr, SocketAddr};

/// A standard stream of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardStream {
    /// The body feeds it; the body's end closes it, a broken one does not.
    Stdin,
    /// The body is all of it; one reader at a time.
    Stdout,
    /// As [`Self::Stdout`]. A terminal has none.
    Stderr,
}

impl StandardStream {
    const ALL: [Self; 3] = [Self::Stdin, Self::Stdout, Self::Stderr];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Stdin => "/stdin/",
            Self::Stdout => "/stdout/",
            Self::Stderr => "/stderr/",
        }
    }

    /// The request's path for the process `id`, whose characters are those of file names.
    pub fn path(self, id: &str) -> String {
        format!("{}{id}", self.prefix())
    }

    /// The stream and the process's id that `path` names.
    pub fn parse(path: &str) -> Option<(Self, &str)> {
        Self::ALL
            .into_iter()
            .find_map(|stream| Some((stream, path.strip_prefix(stream.prefix())?)))
    }
}

/// A connection of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketConnection {
    /// To the container's socket of this index.
    Connect(usize),
    /// The next one to the guest's socket of this index.
    Accept(usize),
    /// To a TCP port of the container's loopback.
    Port(SocketAddr),
    /// With the datagrams of a UDP port of the container's loopback.
    Datagrams(SocketAddr),
}

impl SocketConnection {
    /// The request's path.
    pub fn path(self) -> String {
        match self {
            Self::Connect(index) => format!("/connect/{index}"),
            Self::Accept(index) => format!("/accept/{index}"),
            Self::Port(at) => format!("/tcp/{}/{}", at.ip(), at.port()),
            Self::Datagrams(at) => format!("/udp/{}/{}", at.ip(), at.port()),
        }
    }

    /// What `path` names.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, index) = path.strip_prefix('/')?.split_once('/')?;
        match kind {
            "connect" => Some(Self::Connect(index.parse().ok()?)),
            "accept" => Some(Self::Accept(index.parse().ok()?)),
            "tcp" => Some(Self::Port(loopback(index)?)),
            "udp" => Some(Self::Datagrams(loopback(index)?)),
            _ => None,
        }
    }
}

/// `<address>/<port>` of the loopback.
fn loopback(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let at = SocketAddr::new(address, port.parse().ok()?);
    address.is_loopback().then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_are_written() {
        for stream in StandardStream::ALL {
            let path = stream.path("web-1.x");
            assert_eq!(StandardStream::parse(&path), Some((stream, "web-1.x")));
        }
        assert_eq!(
            StandardStream::parse("/container.guest.v1.Guest/Wait"),
            None
        );
        assert_eq!(StandardStream::parse("/stdout"), None);
        let at = |text: &str| text.parse().unwrap();
        for connection in [
            SocketConnection::Connect(0),
            SocketConnection::Accept(63),
            SocketConnection::Port(at("127.0.0.1:65535")),
            SocketConnection::Port(at("[::1]:80")),
            SocketConnection::Datagrams(at("127.0.0.2:53")),
        ] {
            let path = connection.path();
            assert_eq!(SocketConnection::parse(&path), Some(connection));
        }
        for path in [
            "/connect",
            "/connect/",
            "/connect/x",
            "/stdin/1",
            "/accept/-1",
            "/tcp/127.0.0.1/65536",
            "/tcp/127.0.0.1",
            "/udp/10.0.0.1/53",
            "/udp/0.0.0.0/53",
        ] {
            assert_eq!(SocketConnection::parse(path), None, "{path}");
        }
    }
}
