//! Requests to the kernel's network stack (rtnetlink(7)), each answered before the next one.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

/// `struct nlmsghdr`, in bytes.
const HEADER: usize = 16;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const ASK: u16 = 0x1 | 0x4;
/// `NLM_F_CREATE | NLM_F_REPLACE`.
pub const CREATE: u16 = 0x400 | 0x100;
/// `NLMSG_ERROR`, the answer to every request, with 0 for what was done.
const ANSWER: u16 = 2;
/// Requests and attributes begin at multiples of so many bytes (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const ALIGNMENT: usize = 4;

/// One request.
#[derive(Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// A request of `kind`, whose fixed part is `body`.
    pub fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(ASK | flags).to_ne_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// Adds an attribute. None of ours is longer than 65535 bytes.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        let padded = self.0.len().next_multiple_of(ALIGNMENT);
        self.0.resize(padded, 0);
        self
    }
}

/// A connection to the kernel.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is 0, which is what no protocol stands for.
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Carries a request out, and gives the kernel's error.
    pub fn carry_out(&self, mut request: Request) -> io::Result<()> {
        let length = u32::try_from(request.0.len()).map_err(io::Error::other)?;
        request.0[..4].copy_from_slice(&length.to_ne_bytes());
        send(&self.0, &request.0, SendFlags::empty())?;
        let mut answer = [0; 4096];
        // The answer is there when send returns: the kernel works in the caller's time.
        let (read, _) = recv(&self.0, &mut answer, RecvFlags::DONTWAIT)?;
        result(answer.get(..read).unwrap_or_default())
    }
}

/// What the kernel answered: `struct nlmsgerr` begins with the negative error number.
fn result(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6);
    let code = answer
        .get(HEADER..HEADER + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match code {
        Some(0) if kind == Some(&ANSWER.to_ne_bytes()) => Ok(()),
        Some(code) if kind == Some(&ANSWER.to_ne_bytes()) => {
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned() {
        let request = Request::new(19, 0, &[0; 4])
            .with(3, b"eth0\0")
            .with(4, &[1, 2]);
        assert_eq!(request.0.len(), HEADER + 4 + 12 + 8);
        assert_eq!(request.0[20..24], [9, 0, 3, 0]);
        assert_eq!(request.0[32..34], [6, 0]);
    }

    #[test]
    fn the_kernel_answers() {
        // RTM_SETLINK of an interface that there is not.
        let mut body = [0; 16];
        body[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let answer = Netlink::open()
            .unwrap()
            .carry_out(Request::new(19, 0, &body));
        let code = answer.unwrap_err().raw_os_error();
        assert!(matches!(code, Some(libc::ENODEV | libc::EPERM)), "{code:?}");
    }
}
