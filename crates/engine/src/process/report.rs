//! What a new process tells its parent while it becomes the program.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// One message: two integers, and perhaps a descriptor.
#[derive(Debug)]
pub(super) enum Report {
    /// It is the program now: said by the end of the connection.
    Executed,
    /// Its system calls are filtered; a descriptor comes along.
    Filtered,
    /// The host doesn't give the namespaces.
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
            _ => Self::NotExecuted(error),
        };
        Ok((report, descriptor))
    }

    /// Allocates nothing.
    pub(super) fn send(
        &self,
        connection: &OwnedFd,
        descriptor: Option<&OwnedFd>,
    ) -> io::Result<()> {
        let (kind, errno) = match self {
            Self::Executed | Self::Filtered => (0_i32, 0),
            Self::NotConfined(error) => (1, error.raw_os_error().unwrap_or(libc::EINVAL)),
            Self::NotExecuted(error) => (2, error.raw_os_error().unwrap_or(libc::EINVAL)),
        };
        let (kind, errno) = (kind.to_ne_bytes(), errno.to_ne_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.map(|descriptor| [descriptor.as_fd()]);
        if let Some(descriptors) = &descriptors {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let parts = [IoSlice::new(&kind), IoSlice::new(&errno)];
        sendmsg(connection, &parts, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}
