//! Datagrams to the host. Rules lead them to one socket, whichever port they are for; each conversation has a socket on the host.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};

use container_api::datagrams::{Flows, Limit, MAX_DATAGRAM, own};
use nix::libc::sockaddr_in6;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, mpsc};

use super::questions::Refusal;
use super::services;
use crate::directory::{Client, Directory};
use crate::namespace::inside::{Inside, Socket};
use crate::relay::udp::{IDLE, any};

/// Conversations at once, of all containers and of one.
const CONVERSATIONS: Limit = Limit {
    all: 2048,
    each: 512,
};

/// A conversation: who speaks, and with which address and port of the host's.
type Key = (SocketAddr, SocketAddr);

/// Takes datagrams at `at` of the network's namespace.
///
/// # Errors
/// When a socket can't be had.
pub async fn listen(
    directory: &Directory,
    inside: &Arc<Inside>,
    at: SocketAddr,
    refusal: &Refusal,
) -> io::Result<()> {
    let socket = inside.socket(Socket::Intercepting(at)).await?;
    let socket = UdpSocket::from_std(socket.into())?;
    let voices = Voices {
        inside: inside.clone(),
        sockets: Arc::default(),
    };
    tokio::spawn(serve(socket, directory.clone(), voices, refusal.clone()));
    Ok(())
}

async fn serve(socket: UdpSocket, directory: Directory, voices: Voices, refusal: Refusal) {
    let mut flows: Flows<Key> = Flows::new(CONVERSATIONS);
    let mut ends = directory.ends();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let received = tokio::select! {
            ended = ends.recv() => {
                // Who has missed some ends all.
                flows.end(|(from, _)| ended.as_ref().map_or(true, |ended| ended.contains(&from.ip())));
                continue;
            }
            received = socket.async_io(Interest::READABLE, || receive(&socket, &mut buffer)) => received,
            () = flows.ended() => continue,
        };
        let Ok(Some((length, key))) = received else {
            continue;
        };
        if !matches!(directory.client(key.0.ip()), Client::Container(_)) {
            continue;
        }
        let (voices, refusal) = (voices.clone(), refusal.clone());
        let alike = |other: &Key| other.0.ip() == key.0.ip();
        let datagram = buffer[..length].to_vec();
        flows.pass(key, datagram, alike, |datagrams| async move {
            let (from, to) = key;
            if let Err(error) = carry(from, to, &voices, datagrams).await {
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    refusal.datagram(from, to);
                }
            }
        });
    }
}

/// A datagram's length, who sent it, and where to; nothing where that is not told.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<(usize, Key)>> {
    let mut space = nix::cmsg_space!(sockaddr_in6);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let to = message.cmsgs()?.find_map(|told| match told {
        ControlMessageOwned::Ipv4OrigDstAddr(to) => {
            Some(SocketAddr::V4(SocketAddrV4::from(SockaddrIn::from(to))))
        }
        ControlMessageOwned::Ipv6OrigDstAddr(to) => {
            Some(SocketAddr::V6(SocketAddrV6::from(SockaddrIn6::from(to))))
        }
        _ => None,
    });
    let from = message.address.as_ref().and_then(own::address);
    Ok(from.zip(to).map(|key| (message.bytes, key)))
}

/// Carries a conversation. Services are on one of two addresses: the other one is tried where the first refuses at once.
async fn carry(
    from: SocketAddr,
    to: SocketAddr,
    voices: &Voices,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let [service, other] = services(to.port(), to.is_ipv6());
    let mut other = Some(other);
    let Some(mut first) = datagrams.recv().await else {
        return Ok(());
    };
    let mut outer = None;
    let mut inner = speak(service, &first).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let outcome = tokio::select! {
            datagram = datagrams.recv() => match datagram {
                Some(datagram) => {
                    let sent = inner.send(&datagram).await;
                    first = datagram;
                    sent.map(|_| None)
                }
                None => return Ok(()),
            },
            received = inner.recv(&mut buffer) => received.map(Some),
            () = tokio::time::sleep(IDLE) => return Ok(()),
        };
        match outcome {
            Ok(Some(length)) => {
                let socket = match &outer {
                    Some(socket) => socket,
                    None => outer.insert(voices.of(to).await?),
                };
                socket.send_to(&buffer[..length], from).await?;
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && outer.is_none() => {
                inner = speak(other.take().ok_or(error)?, &first).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// A socket of the host's that speaks with `to`, and has sent `datagram`.
async fn speak(to: SocketAddr, datagram: &[u8]) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(any(to.is_ipv6())).await?;
    socket.connect(to).await?;
    socket.send(datagram).await?;
    Ok(socket)
}

/// Sockets in the network's namespace that speak with the host's address there; one for each port, while somebody speaks with it.
#[derive(Clone, Debug)]
struct Voices {
    inside: Arc<Inside>,
    sockets: Arc<Mutex<HashMap<SocketAddr, Weak<UdpSocket>>>>,
}

impl Voices {
    async fn of(&self, address: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let mut sockets = self.sockets.lock().await;
        if let Some(socket) = sockets.get(&address).and_then(Weak::upgrade) {
            return Ok(socket);
        }
        sockets.retain(|_, socket| socket.strong_count() > 0);
        let socket = self.inside.socket(Socket::Speaking(address)).await?;
        let socket = Arc::new(UdpSocket::from_std(socket.into())?);
        sockets.insert(address, Arc::downgrade(&socket));
        Ok(socket)
    }
}
