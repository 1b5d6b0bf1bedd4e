//! First packets of connections to the host: each goes on where the host has somebody for it, and is refused otherwise.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::loopback::Loopback;
use super::packet;

/// The largest packet, in bytes.
const PACKET: usize = 65_536;
/// How long nothing is taken after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// Where packets go that are to be refused: the kernel tells their senders.
#[derive(Clone, Debug)]
pub struct Refusal(Arc<OwnedFd>);

impl Refusal {
    /// By the interface that is behind `descriptor`.
    pub fn new(descriptor: OwnedFd) -> Self {
        Self(Arc::new(descriptor))
    }

    /// Refuses a packet.
    pub fn packet(&self, packet: &[u8]) {
        // One that is lost is sent again, or is not missed.
        let _ = rustix::io::write(&*self.0, packet);
    }

    /// Refuses a datagram.
    pub fn datagram(&self, from: SocketAddr, to: SocketAddr) {
        if let Some(packet) = packet::datagram(from, to) {
            self.packet(&packet);
        }
    }
}

/// Answers for the packets of the interface behind `asked`, until that is gone.
pub async fn serve(asked: OwnedFd, refusal: Refusal) {
    if let Err(error) = answer(asked, &refusal).await {
        tracing::warn!("connections to the host are not taken any more: {error:#}");
    }
}

async fn answer(asked: OwnedFd, refusal: &Refusal) -> io::Result<()> {
    let interest = Interest::READABLE;
    // SAFETY: an OwnedFd names one open description as long as it lives.
    let asked = unsafe { AsyncFd::register_with_interest(asked, interest)? };
    let loopback = Loopback::open();
    let mut buffer = vec![0; PACKET];
    loop {
        let mut ready = asked.readable().await?;
        let packet = match rustix::io::read(asked.get_ref(), &mut *buffer) {
            Ok(length) => &buffer[..length],
            Err(Errno::AGAIN) => {
                ready.clear_ready();
                continue;
            }
            Err(Errno::BADFD | Errno::BADF) => return Ok(()),
            Err(error) => {
                tracing::warn!("a connection to the host is lost: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let goes_on = packet::port(packet).is_some_and(|port| {
            let told = loopback.as_ref().ok();
            // A host that does not tell is asked by the connection itself.
            told.and_then(|loopback| loopback.listens(port).ok())
                .unwrap_or(true)
        });
        if goes_on {
            // As with every packet, its sender sends one that is lost again.
            let _ = rustix::io::write(asked.get_ref(), packet);
        } else {
            refusal.packet(packet);
        }
    }
}
