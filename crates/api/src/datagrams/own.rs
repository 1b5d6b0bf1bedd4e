//! Datagrams of a socket that is bound to every address of the host: to which each of them came. An answer leaves from that one, as whoever
//! asked listens to nobody else.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// An address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Own {
    /// Of IPv4.
    V4(Ipv4Addr),
    /// Of IPv6, and the number of its interface where every interface may have it; else 0.
    V6(Ipv6Addr, u32),
}

/// Has the kernel tell where datagrams of `socket` are for.
///
/// # Errors
/// As `setsockopt(2)`.
pub fn tell(socket: &impl AsFd, ipv6: bool) -> io::Result<()> {
    let told = if ipv6 {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)
    } else {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)
    };
    Ok(told?)
}

/// Receives a datagram: its length, its sender, and the host's address that it is for, where an answer can leave from there.
///
/// # Errors
/// As `recvmsg(2)`.
pub async fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<Option<(usize, SocketAddr, Option<Own>)>> {
    let receive = || receive_now(socket, &mut *buffer);
    socket.async_io(Interest::READABLE, receive).await
}

fn receive_now(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<Option<(usize, SocketAddr, Option<Own>)>> {
    let mut space = cmsg_space!(in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let own = message.cmsgs()?.find_map(|told| match told {
        ControlMessageOwned::Ipv4PacketInfo(info) => of_ipv4(info),
        ControlMessageOwned::Ipv6PacketInfo(info) => of_ipv6(info),
        _ => None,
    });
    let from = message.address.as_ref().and_then(address);
    Ok(from.map(|from| (message.bytes, from, own)))
}

/// Sends a datagram to `to`, from `own` where that is known.
///
/// # Errors
/// As `sendmsg(2)`.
pub async fn send(
    socket: &UdpSocket,
    datagram: &[u8],
    to: SocketAddr,
    own: Option<Own>,
) -> io::Result<()> {
    let send = || send_now(socket, datagram, to, own);
    socket.async_io(Interest::WRITABLE, send).await
}

fn send_now(
    socket: &UdpSocket,
    datagram: &[u8],
    to: SocketAddr,
    own: Option<Own>,
) -> io::Result<()> {
    let to = SockaddrStorage::from(to);
    let send = |told: &[ControlMessage<'_>]| {
        let parts = [IoSlice::new(datagram)];
        let flags = MsgFlags::MSG_DONTWAIT;
        sendmsg(socket.as_raw_fd(), &parts, told, flags, Some(&to))
    };
    match own {
        Some(Own::V4(address)) => {
            let own = in_addr {
                s_addr: u32::from(address).to_be(),
            };
            send(&[ControlMessage::Ipv4PacketInfo(&in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: own,
                ipi_addr: own,
            })])
        }
        Some(Own::V6(address, interface)) => {
            send(&[ControlMessage::Ipv6PacketInfo(&in6_pktinfo {
                ipi6_addr: in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: interface,
            })])
        }
        None => send(&[]),
    }?;
    Ok(())
}

/// What is for everybody came by the interface's own address.
fn of_ipv4(info: in_pktinfo) -> Option<Own> {
    let address = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
    (!address.is_unspecified()).then_some(Own::V4(address))
}

/// A group's address is nobody's to answer from.
fn of_ipv6(info: in6_pktinfo) -> Option<Own> {
    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
    let interface = if address.is_unicast_link_local() {
        info.ipi6_ifindex
    } else {
        0
    };
    let is_own = !address.is_multicast() && !address.is_unspecified();
    is_own.then_some(Own::V6(address, interface))
}

/// An address and port as the kernel tells them.
pub fn address(told: &SockaddrStorage) -> Option<SocketAddr> {
    let ipv4 = told.as_sockaddr_in();
    let ipv4 = ipv4.map(|told| SocketAddr::V4(SocketAddrV4::from(*told)));
    let ipv6 = told.as_sockaddr_in6();
    ipv4.or_else(|| ipv6.map(|told| SocketAddr::V6(SocketAddrV6::from(*told))))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered_from(bound: &str, asked: &str) -> SocketAddr {
        let server = UdpSocket::bind(bound).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let asked: SocketAddr = format!("{asked}:{port}").parse().unwrap();
        tell(&server, asked.is_ipv6()).unwrap();
        let any = if asked.is_ipv6() {
            "[::1]:0"
        } else {
            "127.0.0.1:0"
        };
        let client = UdpSocket::bind(any).await.unwrap();
        client.send_to(b"question", asked).await.unwrap();
        let mut buffer = [0; 16];
        let (length, from, own) = receive(&server, &mut buffer).await.unwrap().unwrap();
        assert_eq!((length, from), (8, client.local_addr().unwrap()));
        send(&server, b"answer", from, own).await.unwrap();
        let (length, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (&b"answer"[..], asked));
        from
    }

    #[tokio::test]
    async fn an_answer_leaves_from_the_address_that_was_asked() {
        for asked in ["127.0.0.1", "127.0.0.2", "127.77.0.9"] {
            answered_from("0.0.0.0:0", asked).await;
        }
        answered_from("127.0.0.3:0", "127.0.0.3").await;
        answered_from("[::]:0", "[::1]").await;
    }
}
