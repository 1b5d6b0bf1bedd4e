//! Two connections made one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

/// How long the other side may take to answer.
const CONNECT: Duration = Duration::from_secs(10);

/// Carries bytes both ways until both ends have said that they say no more. Who closes one direction still hears the other.
pub async fn join(mut one: TcpStream, mut other: TcpStream) {
    let _ = one.set_nodelay(true);
    let _ = other.set_nodelay(true);
    if tokio::io::copy_bidirectional(&mut one, &mut other)
        .await
        .is_err()
    {
        // One of them failed: so does the other.
        reset(&one);
        reset(&other);
    }
}

/// Makes the end of a connection a failure, not a plain end.
pub fn reset(stream: &TcpStream) {
    // One that is closed already needs none.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// Connects `socket`.
pub async fn connect(socket: TcpSocket, to: SocketAddr) -> io::Result<TcpStream> {
    tokio::time::timeout(CONNECT, socket.connect(to))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
