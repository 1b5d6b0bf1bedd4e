//! What a child tells the agent before it execs, over a socket that exec closes.
//!
//! Each message is one packet: `T` with the master of a terminal as a descriptor, or `E`, a byte for the kind,
//! and the reason for which there will be no exec. No message but the end of the socket means success.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use container_api::Chain;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::launch::{Failure, FailureKind};
use crate::watch::watch;

/// Longest reason that is passed on, in bytes.
const REASON_MAX: usize = 4096;

/// The child's end.
#[derive(Debug)]
pub struct Reporter(OwnedFd);

/// The agent's end.
#[derive(Debug)]
pub struct Reports(AsyncFd<OwnedFd>);

/// What a child has said until its exec, or its end.
#[derive(Debug, Default)]
pub struct Report {
    pub terminal: Option<OwnedFd>,
    pub failure: Option<(FailureKind, String)>,
}

/// Both ends.
pub fn pair() -> io::Result<(Reports, Reporter)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((Reports(watch(ours, Interest::READABLE)?), Reporter(theirs)))
}

impl Reporter {
    /// Takes over the socket that an earlier program of this process has left open for this one.
    ///
    /// # Safety
    /// `number` must be an open descriptor that nothing else owns.
    pub unsafe fn inherit(number: RawFd) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// Lets the socket survive one exec; its number there.
    pub fn keep_across_exec(&self) -> rustix::io::Result<RawFd> {
        rustix::io::fcntl_setfd(&self.0, rustix::io::FdFlags::empty())?;
        Ok(self.0.as_raw_fd())
    }

    /// Lets exec close the socket again.
    pub fn close_on_exec(&self) -> rustix::io::Result<()> {
        rustix::io::fcntl_setfd(&self.0, rustix::io::FdFlags::CLOEXEC)
    }

    /// Hands the terminal's master over.
    pub fn send_terminal(&self, master: impl AsFd) -> rustix::io::Result<()> {
        let descriptors = [master.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(
            &self.0,
            &[IoSlice::new(b"T")],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .map(|_| ())
    }

    /// Tells why there will be no exec.
    pub fn send_failure(&self, failure: &Failure) {
        let mut packet = vec![b'E', failure.kind().to_byte()];
        packet.extend(Chain(failure).to_string().into_bytes());
        packet.truncate(REASON_MAX);
        // If the agent does not listen any more, there is nobody left to tell.
        let _ = send(&self.0, &packet, SendFlags::NOSIGNAL);
    }
}

impl Reports {
    /// Everything until the socket closes.
    pub async fn collect(self) -> io::Result<Report> {
        let mut report = Report::default();
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|socket| Ok(receive(socket.get_ref(), &mut report)?)) {
                Ok(Ok(true)) | Err(_) => {}
                Ok(Ok(false)) => return Ok(report),
                Ok(Err(error)) => return Err(error),
            }
        }
    }
}

/// Takes one packet; false at the end.
fn receive(socket: &OwnedFd, report: &mut Report) -> rustix::io::Result<bool> {
    let mut packet = [0_u8; REASON_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut pieces = [IoSliceMut::new(&mut packet)];
    let received = recvmsg(socket, &mut pieces, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            report.terminal = descriptors.next();
        }
    }
    match &packet[..received.bytes] {
        [] => return Ok(false),
        [b'E', kind, reason @ ..] => {
            let reason = String::from_utf8_lossy(reason).into_owned();
            report.failure = Some((FailureKind::from_byte(*kind), reason));
        }
        _ => {}
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_terminal_and_a_failure_arrive() {
        let (reports, reporter) = pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        reporter.send_terminal(&writer).unwrap();
        reporter.send_failure(&Failure::NotInPath("sh".to_owned()));
        drop((reporter, writer));
        let report = reports.collect().await.unwrap();
        rustix::io::write(report.terminal.unwrap(), b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 8]).unwrap(), 1);
        let (kind, reason) = report.failure.unwrap();
        assert_eq!(kind, FailureKind::NotFound);
        assert_eq!(reason, "executable 'sh' not found in $PATH");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn silence_is_success() {
        let (reports, reporter) = pair().unwrap();
        drop(reporter);
        let report = reports.collect().await.unwrap();
        assert!(report.terminal.is_none() && report.failure.is_none());
    }
}
