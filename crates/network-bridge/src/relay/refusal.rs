//! Word to a client that nobody takes its datagrams, as the kernel sends it of ports that are nobody's.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use container_api::datagrams::own::{self, Own};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use tokio::net::UdpSocket;

use super::host::packet;

/// Destination unreachable, its port, without the sum, which is the kernel's to fill in, and four bytes without a use (RFC 4443, section 3.1).
const UNREACHABLE: [u8; 8] = [1, 4, 0, 0, 0, 0, 0, 0];

/// Who sends it. Of IPv6 alone: where there is the right to (`CAP_NET_RAW`), the kernel itself leads all datagrams of IPv4.
#[derive(Clone, Debug)]
pub struct Refusal(Option<Arc<UdpSocket>>);

impl Refusal {
    /// For ports of IPv6, or not; it is silent without the right to speak.
    pub fn new(ipv6: bool) -> Self {
        let socket = ipv6.then(raw).and_then(Result::ok);
        Self(socket.map(Arc::new))
    }

    /// Tells `client` that nobody takes what it sent to `port` of the host's address `at`.
    pub async fn tell(&self, client: SocketAddr, at: Option<Own>, port: u16) {
        let Some(socket) = &self.0 else { return };
        let Some(Own::V6(address, _)) = at else {
            return;
        };
        let Some(sent) = packet::datagram(client, (address, port).into()) else {
            return;
        };
        let message = [&UNREACHABLE[..], &sent].concat();
        let mut to = client;
        // Such a socket takes it for a protocol.
        to.set_port(0);
        // One that is lost is not missed.
        let _ = own::send(socket, &message, to, at).await;
    }
}

/// Nothing of it is UDP, but what is done with it is the same.
fn raw() -> io::Result<UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = Some(ipproto::ICMPV6);
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::INET6, SocketType::RAW, flags, protocol)?;
    // It hears what the host does, and nobody reads it.
    sockopt::set_socket_recv_buffer_size(&socket, 0)?;
    UdpSocket::from_std(socket.into())
}
