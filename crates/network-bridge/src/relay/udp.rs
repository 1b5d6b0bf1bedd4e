//! Datagrams to a published port: a socket for each client, so that answers find back.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use container_api::datagrams::own::{self, Own};
use container_api::datagrams::{Flows, Limit, MAX_DATAGRAM};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::refusal::Refusal;
use crate::namespace::inside::{Inside, Socket};

/// Clients of one port at once. All programs of the host are one client to a port of its loopback.
const CLIENTS: Limit = Limit {
    all: 1024,
    each: 1024,
};
/// How long a client may be silent before it is forgotten.
pub const IDLE: Duration = Duration::from_secs(60);

/// Who speaks, and with which of the host's addresses.
type Key = (SocketAddr, Option<Own>);

/// Carries datagrams between the clients of `socket`, which [tells](own::tell) where they are for, and `to`.
pub async fn serve(socket: UdpSocket, to: SocketAddr, inside: Arc<Inside>) {
    let Ok(at) = socket.local_addr() else { return };
    let outer = Outer {
        port: at.port(),
        refusal: Refusal::new(at.is_ipv6()),
        socket: Arc::new(socket),
    };
    let mut clients = Flows::new(CLIENTS);
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let received = tokio::select! {
            received = own::receive(&outer.socket, &mut buffer) => received,
            () = clients.ended() => continue,
        };
        // Mostly word that an answer before did not arrive.
        let Ok(Some((length, from, at))) = received else {
            continue;
        };
        let (outer, inside) = (outer.clone(), inside.clone());
        let key = (from, at);
        let alike = |other: &Key| other.0.ip() == from.ip();
        let datagram = buffer[..length].to_vec();
        clients.pass(key, datagram, alike, |datagrams| async move {
            // Its own error ends it: the client's next datagram begins anew.
            let _ = carry(&outer, key, to, &inside, datagrams).await;
        });
    }
}

/// A port of the host.
#[derive(Clone, Debug)]
struct Outer {
    socket: Arc<UdpSocket>,
    port: u16,
    refusal: Refusal,
}

async fn carry(
    outer: &Outer,
    (client, at): Key,
    to: SocketAddr,
    inside: &Inside,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let socket = inside.socket(Socket::Datagram(any(to.is_ipv6()))).await?;
    let inner = UdpSocket::from_std(socket.into())?;
    inner.connect(to).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        tokio::select! {
            datagram = datagrams.recv() => {
                let Some(datagram) = datagram else {
                    return Ok(());
                };
                // It may fail with word of the one before, and is not sent then.
                if is_refused(&inner.send(&datagram).await) {
                    outer.refusal.tell(client, at, outer.port).await;
                    let _ = inner.send(&datagram).await;
                }
            }
            received = inner.recv(&mut buffer) => {
                if is_refused(&received) {
                    outer.refusal.tell(client, at, outer.port).await;
                } else if let Ok(length) = received {
                    own::send(&outer.socket, &buffer[..length], client, at).await?;
                }
            }
            () = tokio::time::sleep(IDLE) => return Ok(()),
        }
    }
}

/// Whether nobody in the container takes datagrams there.
fn is_refused(done: &io::Result<usize>) -> bool {
    let error = done.as_ref().err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Every address of a family, and a port that the kernel chooses.
pub fn any(ipv6: bool) -> SocketAddr {
    if ipv6 {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    }
}
