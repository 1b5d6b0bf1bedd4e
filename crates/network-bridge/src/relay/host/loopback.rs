//! Who listens on the host's loopback, as the kernel knows it (`sock_diag(7)`).

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// `SOCK_DIAG_BY_FAMILY` (`linux/sock_diag.h`).
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST` and `NLMSG_ERROR` (`linux/netlink.h`).
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
/// Bytes of the header of a message, and of one with its request.
const HEADER: usize = 16;
const MESSAGE: u32 = 72;
/// `TCP_LISTEN` (`net/tcp_states.h`).
const LISTEN: u8 = 10;

/// Asks the kernel of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Loopback {
    socket: OwnedFd,
}

impl Loopback {
    /// Of the calling thread's namespace.
    ///
    /// # Errors
    /// As `socket(2)`.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
        let socket = rustix::net::socket_with(family, kind, flags, Some(netlink::SOCK_DIAG))?;
        Ok(Self { socket })
    }

    /// Whether somebody takes connections to `port` of 127.0.0.1 or `::1`.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn listens(&self, port: u16) -> io::Result<bool> {
        let [ipv4, ipv6] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        Ok(self.listens_at(ipv4, port)? || self.listens_at(ipv6, port)?)
    }

    fn listens_at(&self, address: IpAddr, port: u16) -> io::Result<bool> {
        rustix::net::send(&self.socket, &request(address, port), SendFlags::empty())?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        // The answer is there when the question has been sent.
        let ((answer, _), _) = rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty())?;
        parse(answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// A question for one socket: `struct nlmsghdr`, then `struct inet_diag_req_v2` (`linux/inet_diag.h`).
fn request(address: IpAddr, port: u16) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(MESSAGE.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    let (family, mut source) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    source.resize(16, 0);
    let protocol = libc::IPPROTO_TCP;
    for number in [family, protocol, 0, 0] {
        // All of them are small.
        message.extend(&number.to_le_bytes()[..1]);
    }
    // Of every state.
    message.extend(u32::MAX.to_ne_bytes());
    message.extend(port.to_be_bytes());
    // Connected to nobody, whichever interface.
    message.extend([0; 2]);
    message.extend(source);
    message.extend([0; 16 + 4]);
    // INET_DIAG_NOCOOKIE.
    message.extend([0xff; 8]);
    message
}

/// Whether the answer is a socket that listens; nothing for another answer.
fn parse(answer: &[u8]) -> Option<bool> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    match kind {
        BY_FAMILY => Some(*answer.get(HEADER + 1)? == LISTEN),
        ERROR => {
            let code = answer.get(HEADER..HEADER + 4)?.try_into().ok()?;
            (i32::from_ne_bytes(code) == -libc::ENOENT).then_some(false)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_found_at_every_address_that_serves_the_loopback() {
        let loopback = Loopback::open().unwrap();
        for at in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(at).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(loopback.listens(port).unwrap(), "{at}");
            drop(listener);
            assert!(!loopback.listens(port).unwrap(), "{at}");
        }
        // Another address of the loopback's network is another one.
        let listener = TcpListener::bind("127.0.0.9:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!loopback.listens(port).unwrap());
    }

    #[test]
    fn strange_answers_say_nothing() {
        for length in 0..40 {
            assert_eq!(parse(&vec![7; length]), None);
        }
    }
}
