//! What a new process and its parent tell each other while it becomes the program.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// One message: two integers, and perhaps a descriptor.
#[derive(Debug)]
pub(super) enum Report {
    /// It is the program now: said by the end of the connection.
    Executed,
    /// To the process: who it is has been written down, and it may go on.
    Mapped,
    /// A file that it opened again for the parent to lend, in the order of the plan; a descriptor comes along.
    Reopened,
    /// Its system calls are filtered; a descriptor comes along.
    Filtered,
    /// The host does not let it be confined this way.
    NotConfined(io::Error),
    /// Anything else.
    NotExecuted(io::Error),
}

impl Report {
    pub(super) fn receive(connection: &OwnedFd) -> io::Result<(Self, Option<OwnedFd>)> {
        let (mut kind, mut errno) = ([0; 4], [0; 4]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut kind), IoSliceMut::new(&mut errno)];
            recvmsg(
                connection,
                &mut parts,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        if received.bytes == 0 {
            return Ok((Self::Executed, None));
        }
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
        let report = match i32::from_ne_bytes(kind) {
            0 => Self::Filtered,
            1 => Self::NotConfined(error),
            2 => Self::Mapped,
            3 => Self::Reopened,
            _ => Self::NotExecuted(error),
        };
        Ok((report, descriptor))
    }

    /// Allocates nothing.
    pub(super) fn send(
        &self,
        connection: &OwnedFd,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let number = |error: &io::Error| error.raw_os_error().unwrap_or(libc::EINVAL);
        let (kind, errno) = match self {
            Self::Executed | Self::Filtered => (0_i32, 0),
            Self::NotConfined(error) => (1, number(error)),
            Self::Mapped => (2, 0),
            Self::Reopened => (3, 0),
            Self::NotExecuted(error) => (4, number(error)),
        };
        let (kind, errno) = (kind.to_ne_bytes(), errno.to_ne_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.map(|descriptor| [descriptor]);
        if let Some(descriptors) = &descriptors {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let parts = [IoSlice::new(&kind), IoSlice::new(&errno)];
        sendmsg(connection, &parts, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}
