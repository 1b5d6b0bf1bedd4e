//! Two connections made one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// How long the other side may take to answer.
const CONNECT: Duration = Duration::from_secs(10);

/// Carries bytes both ways until both ends have said that they say no more. Who closes one direction still hears the other. `ended` is
/// called when `other` says no more, or fails.
pub async fn join(mut one: TcpStream, mut other: TcpStream, ended: impl FnOnce()) {
    let _ = one.set_nodelay(true);
    let _ = other.set_nodelay(true);
    let ((mut from_one, mut to_one), (mut from_other, mut to_other)) = (one.split(), other.split());
    let there = async {
        tokio::io::copy(&mut from_one, &mut to_other).await?;
        to_other.shutdown().await
    };
    let back = async {
        let copied = tokio::io::copy(&mut from_other, &mut to_one).await;
        ended();
        copied?;
        to_one.shutdown().await
    };
    if tokio::try_join!(there, back).is_err() {
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
