//! Datagrams between the process that answers questions and the host's resolvers.
//!
//! A datagram socket sends to whatever address its owner names, and this one would be of the host's own network. So that process gets one
//! end of a pair of sockets instead, on which an address means nothing; the other end is carried to the resolver here, unread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::Semaphore;

use super::outside::connected;

/// Ways that are open at once.
const MOST: usize = 512;
/// How long one is open: longer than a question is asked.
const LIFE: Duration = Duration::from_secs(6);
/// The largest datagram, in bytes.
const MAX_DATAGRAM: usize = 65_507;

/// Ways to the host's resolvers.
#[derive(Debug)]
pub struct Ways(Arc<Semaphore>);

impl Default for Ways {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Ways {
    /// A socket whose datagrams go to `server`, and to nobody else.
    ///
    /// # Errors
    /// When it cannot be had, or too many are open.
    pub fn open(&self, server: SocketAddr) -> io::Result<OwnedFd> {
        let open = self.0.clone().try_acquire_owned();
        let open = open.map_err(|_| io::Error::other("too many questions are asked at once"))?;
        let server = UdpSocket::from_std(connected(server, false)?.into())?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Of this kind the kernel takes no address (unix(7)).
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
        let ours = UnixDatagram::from_std(ours.into())?;
        tokio::spawn(async move {
            // The end of either side, or of its time: the other one learns of it when this is closed.
            let _ = tokio::time::timeout(LIFE, carry(&ours, &server)).await;
            drop(open);
        });
        Ok(theirs)
    }
}

/// Carries datagrams both ways until one side is closed or refuses.
async fn carry(ours: &UnixDatagram, server: &UdpSocket) -> io::Result<()> {
    loop {
        // Memory is taken when there is something to put there.
        tokio::select! {
            ready = ours.readable() => {
                ready?;
                let mut datagram = vec![0; MAX_DATAGRAM];
                match ours.try_recv(&mut datagram) {
                    Ok(0) => return Ok(()),
                    Ok(length) => drop(server.send(&datagram[..length]).await?),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            ready = server.ready(Interest::READABLE.add(Interest::ERROR)) => {
                if ready?.is_error() {
                    // Such as that nobody listens there, which is no datagram.
                    if let Some(error) = server.take_error()? {
                        return Err(error);
                    }
                    let none = server.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
                    none.or_else(|error| match error.kind() {
                        io::ErrorKind::WouldBlock => Ok(()),
                        _ => Err(error),
                    })?;
                }
                let mut datagram = vec![0; MAX_DATAGRAM];
                match server.try_recv(&mut datagram) {
                    // An empty one would be the end.
                    Ok(0) => {}
                    Ok(length) => drop(ours.send(&datagram[..length]).await?),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendFlags, sendto};

    #[tokio::test]
    async fn datagrams_go_to_the_resolver_whatever_address_they_name() {
        let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let ways = Ways::default();
        let socket = ways.open(resolver.local_addr().unwrap()).unwrap();
        let elsewhere = other.local_addr().unwrap();
        sendto(&socket, b"ask", SendFlags::empty(), &elsewhere).unwrap();
        let mut buffer = [0; 16];
        let (length, from) = resolver.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"ask");
        let nothing = other.try_recv(&mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        resolver.send_to(b"", from).await.unwrap();
        resolver.send_to(b"answer", from).await.unwrap();
        let socket = UnixDatagram::from_std(socket.into()).unwrap();
        let length = socket.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"answer");
        // Refused is passed on as an end.
        drop(resolver);
        socket.send(b"again").await.unwrap();
        assert_eq!(socket.recv(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_resolver_that_is_not_there_is_known_at_once() {
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        let socket = Ways::default().open(address).unwrap();
        let socket = UnixDatagram::from_std(socket.into()).unwrap();
        socket.send(b"ask").await.unwrap();
        let told = tokio::time::timeout(LIFE / 2, socket.recv(&mut [0; 16])).await;
        assert_eq!(told.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn no_more_are_open_than_may_be() {
        let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = resolver.local_addr().unwrap();
        let ways = Ways(Arc::new(Semaphore::new(2)));
        let open = [ways.open(address).unwrap(), ways.open(address).unwrap()];
        assert!(ways.open(address).is_err());
        drop(open);
        while ways.0.available_permits() < 2 {
            tokio::task::yield_now().await;
        }
        ways.open(address).unwrap();
    }
}
