//! What the kernel is asked: for all conversations, and to forget some.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, recv, send};

use super::entry::Entry;
use crate::netlink::{self, LONGEST, message, messages};

/// `NFNL_SUBSYS_CTNETLINK` with `IPCTNL_MSG_CT_NEW`, `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const SHOWN: u16 = 1 << 8;
const SHOW: u16 = 1 << 8 | 1;
const FORGET: u16 = 1 << 8 | 2;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ANSWER: u16 = 2;
const LAST: u16 = 3;
/// `NLM_F_REQUEST`, `NLM_F_ACK` and `NLM_F_DUMP`.
const REQUEST: u16 = 1;
const ANSWERED: u16 = 4;
const ALL: u16 = 0x300;
/// Conversations that are ended by one message to the kernel: it takes at most the socket's buffer, 200 KiB, and answers into another one.
const AT_ONCE: usize = 200;
/// How long the kernel may be silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends those for which `is_meant` holds.
pub(super) fn end(is_meant: impl Fn(&Entry<'_>) -> bool) -> io::Result<usize> {
    let socket = netlink::socket(Some(NETFILTER), 0, SocketFlags::empty())?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let found = find(&socket, is_meant)?;
    for some in found.chunks(AT_ONCE) {
        forget(&socket, some)?;
    }
    Ok(found.len())
}

/// Family and name of each.
fn find(socket: &OwnedFd, is_meant: impl Fn(&Entry<'_>) -> bool) -> io::Result<Vec<(u8, Vec<u8>)>> {
    send(
        socket,
        &message(SHOW, REQUEST | ALL, 0, 0, &[]),
        SendFlags::empty(),
    )?;
    let mut found = Vec::new();
    let mut bytes = vec![0; LONGEST];
    loop {
        let length = receive(socket, &mut bytes)?;
        for message in messages(&bytes[..length]) {
            match message.kind {
                SHOWN => {
                    let entry = Entry::parse(message.body).filter(&is_meant);
                    found.extend(entry.map(|entry| (entry.family, entry.name())));
                }
                ANSWER | LAST => return outcome(message.body).map(|()| found),
                _ => {}
            }
        }
    }
}

fn forget(socket: &OwnedFd, some: &[(u8, Vec<u8>)]) -> io::Result<()> {
    let mut request = Vec::new();
    let mut last = 0;
    for ((family, name), sequence) in some.iter().zip(1..) {
        last = sequence;
        // The others are only answered where they fail.
        let is_last = usize::try_from(sequence) == Ok(some.len());
        let flags = if is_last { REQUEST | ANSWERED } else { REQUEST };
        request.extend(message(FORGET, flags, sequence, *family, name));
    }
    send(socket, &request, SendFlags::empty())?;
    let mut failed = Ok(());
    let mut bytes = vec![0; LONGEST];
    loop {
        let length = receive(socket, &mut bytes)?;
        for message in messages(&bytes[..length]) {
            if message.kind != ANSWER {
                continue;
            }
            failed = failed.and(outcome(message.body));
            if message.sequence == last {
                return failed;
            }
        }
    }
}

fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *bytes, RecvFlags::empty()) {
            Ok((_, length)) => return Ok(length),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let text = "the kernel does not tell its conversations";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The number of an error, which is negative, or 0. What has ended by itself is as good.
fn outcome(body: &[u8]) -> io::Result<()> {
    let number = body
        .first_chunk()
        .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if number >= 0 || number == -libc::ENOENT {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(-number))
}
