//! Datagrams to a published port: a socket for each client, so that answers find back.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::namespace::inside::{Inside, Socket};

/// Clients of one port at once; the longest silent one makes room.
const CLIENTS: usize = 1024;
/// How long a client may be silent before it is forgotten.
const IDLE: Duration = Duration::from_secs(60);
/// Datagrams that wait for a client's socket; more are lost, as on any network.
const WAITING: usize = 64;
/// The largest datagram, in bytes.
const MAX_DATAGRAM: usize = 65_507;

/// Carries datagrams between the clients of `socket` and `to`.
pub async fn serve(socket: UdpSocket, to: SocketAddr, inside: Arc<Inside>) {
    let socket = Arc::new(socket);
    let mut clients: HashMap<SocketAddr, (u64, mpsc::Sender<Vec<u8>>)> = HashMap::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    let mut turn = 0_u64;
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(ended) = tasks.join_next() => {
                if let Ok(client) = ended {
                    // A new one of the same address may have come meanwhile.
                    if clients.get(&client).is_some_and(|(_, sender)| sender.is_closed()) {
                        clients.remove(&client);
                    }
                }
                continue;
            }
        };
        // Mostly word that an answer before did not arrive.
        let Ok((length, client)) = received else {
            continue;
        };
        turn += 1;
        let datagram = buffer[..length].to_vec();
        if let Some((last, sender)) = clients.get_mut(&client) {
            *last = turn;
            if !sender.is_closed() {
                let _ = sender.try_send(datagram);
                continue;
            }
        }
        if clients.len() >= CLIENTS {
            let oldest = clients.iter().min_by_key(|(_, (last, _))| *last);
            if let Some(oldest) = oldest.map(|(client, _)| *client) {
                clients.remove(&oldest);
            }
        }
        let (sender, datagrams) = mpsc::channel(WAITING);
        let _ = sender.try_send(datagram);
        clients.insert(client, (turn, sender));
        let (socket, inside) = (socket.clone(), inside.clone());
        tasks.spawn(async move {
            // Its own error ends it: the client's next datagram begins anew.
            let _ = carry(&socket, client, to, &inside, datagrams).await;
            client
        });
    }
}

async fn carry(
    outer: &UdpSocket,
    client: SocketAddr,
    to: SocketAddr,
    inside: &Inside,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let any: SocketAddr = if to.is_ipv6() {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    };
    let socket = inside.socket(Socket::Datagram(any)).await?;
    let inner = UdpSocket::from_std(socket.into())?;
    inner.connect(to).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        tokio::select! {
            datagram = datagrams.recv() => match datagram {
                // The container may not listen yet.
                Some(datagram) => drop(inner.send(&datagram).await),
                None => return Ok(()),
            },
            received = inner.recv(&mut buffer) => {
                if let Ok(length) = received {
                    outer.send_to(&buffer[..length], client).await?;
                }
            }
            () = tokio::time::sleep(IDLE) => return Ok(()),
        }
    }
}
