//! Connections to the host, whose first packets were let through.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::services;
use crate::bounds::{Bounds, Limit};
use crate::directory::{Client, Directory};
use crate::namespace::inside::{Inside, Socket};
use crate::relay::stream;

/// Connections at once, of all containers and of one.
pub const CONNECTIONS: Limit = Limit {
    all: 4096,
    each: 512,
};
/// How long nothing is taken after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections at `at` of the network's namespace.
///
/// # Errors
/// When a socket can't be had.
pub async fn listen(
    directory: &Directory,
    inside: &Inside,
    at: SocketAddr,
    bounds: &Bounds<String>,
) -> io::Result<()> {
    let listener = inside.socket(Socket::Listener(at)).await?;
    let listener = TcpListener::from_std(listener.into())?;
    tokio::spawn(serve(directory.clone(), listener, bounds.clone()));
    Ok(())
}

async fn serve(directory: Directory, listener: TcpListener, bounds: Bounds<String>) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot take a connection to the host: {error:#}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let client = directory.client(from.ip());
        let Some(work) = bounds.begin(&client.key().to_owned()) else {
            stream::reset(&stream);
            continue;
        };
        tokio::spawn(async move {
            if matches!(client, Client::Container(_)) {
                carry(stream, from.is_ipv6()).await;
            } else {
                stream::reset(&stream);
            }
            drop(work);
        });
    }
}

async fn carry(from: TcpStream, ipv6: bool) {
    let reached = async { reach(wanted_port(&from)?, ipv6).await };
    match reached.await {
        Ok(to) => stream::join(from, to, || {}).await,
        Err(_) => stream::reset(&from),
    }
}

/// The port that the container meant, which the rule that led it here has replaced.
fn wanted_port(stream: &TcpStream) -> io::Result<u16> {
    let port = if stream.local_addr()?.is_ipv6() {
        rustix::net::sockopt::ipv6_original_dst(stream)?.port()
    } else {
        rustix::net::sockopt::ip_original_dst(stream)?.port()
    };
    Ok(port)
}

async fn reach(port: u16, ipv6_first: bool) -> io::Result<TcpStream> {
    let [first, second] = services(port, ipv6_first);
    match connect(first).await {
        Ok(stream) => Ok(stream),
        Err(error) => connect(second).await.map_err(|_| error),
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    stream::connect(socket, to).await
}
