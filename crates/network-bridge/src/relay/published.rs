//! Published ports, as far as the kernel does not forward them: those of `::1`, and all of them without root.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::AbortHandle;

use super::{stream, udp};
use crate::bounds::{Bounds, Limit};
use crate::namespace::inside::{Inside, Socket};
use crate::ports::bind::Bound;
use crate::ports::published::{Protocol, Published};

/// Connections at once through one port. All programs of the host are one client to a port of its loopback.
const CONNECTIONS: Limit = Limit {
    all: 8192,
    each: 2048,
};
/// How long a connection is held while nobody listens in the container: it may just be starting.
const HOLD: Duration = Duration::from_secs(10);
/// The first and the longest pause before the container is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long nothing is taken after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// A container as it is reached.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its addresses; one of each family at most.
    pub addresses: Vec<IpAddr>,
    /// Who makes sockets in its network.
    pub inside: Arc<Inside>,
}

/// A port that is open; closed when this is dropped.
#[derive(Debug)]
pub struct Open {
    /// The port.
    pub port: Published,
    tasks: Vec<AbortHandle>,
}

impl Drop for Open {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Serves a port that is held.
///
/// # Errors
/// When a socket can't be used.
pub fn open(bound: Bound, target: &Target) -> io::Result<Open> {
    let mut open = Open {
        port: bound.port,
        tasks: Vec::new(),
    };
    for (at, socket) in bound.sockets {
        let Some(address) = target.of_family(at.is_ipv6()) else {
            continue;
        };
        let to = SocketAddr::new(address, bound.port.container_port);
        let inside = target.inside.clone();
        let task = match bound.port.protocol {
            Protocol::Tcp => {
                let listener = TcpListener::from_std(socket.into())?;
                tokio::spawn(serve(listener, to, inside)).abort_handle()
            }
            Protocol::Udp => {
                let socket = UdpSocket::from_std(socket.into())?;
                tokio::spawn(udp::serve(socket, to, inside)).abort_handle()
            }
        };
        open.tasks.push(task);
    }
    Ok(open)
}

impl Target {
    /// The address of the family, else the other one.
    fn of_family(&self, ipv6: bool) -> Option<IpAddr> {
        let same = self
            .addresses
            .iter()
            .find(|address| address.is_ipv6() == ipv6);
        same.or_else(|| self.addresses.first()).copied()
    }
}

async fn serve(listener: TcpListener, to: SocketAddr, inside: Arc<Inside>) {
    let bounds = Bounds::new(CONNECTIONS);
    // They end with the port.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (from, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot take a connection to a published port: {error:#}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(work) = bounds.begin(&client.ip()) else {
            stream::reset(&from);
            continue;
        };
        let inside = inside.clone();
        connections.spawn(async move {
            match reach(&from, to, &inside).await {
                Ok(to) => stream::join(from, to).await,
                Err(_) => stream::reset(&from),
            }
            drop(work);
        });
    }
}

/// A connection to the container. While nobody listens there the client is held, not turned away: it has been taken already.
async fn reach(from: &TcpStream, to: SocketAddr, inside: &Inside) -> io::Result<TcpStream> {
    let begun = Instant::now();
    let mut pause = RETRY.0;
    loop {
        let socket = inside.socket(Socket::Stream { ipv6: to.is_ipv6() }).await?;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        match stream::connect(socket, to).await {
            Err(error) if is_refused(&error) && begun.elapsed() < HOLD => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
                if has_gone(from) {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

/// Whether the client has hung up. One that has only said all that it has to say waits for its answer.
fn has_gone(stream: &TcpStream) -> bool {
    rustix::net::sockopt::socket_error(stream).is_ok_and(|error| error.is_err())
}
