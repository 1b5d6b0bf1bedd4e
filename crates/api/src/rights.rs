//! Bytes and descriptors together on a Unix stream (`SCM_RIGHTS`, `unix(7)`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The most descriptors that travel at once.
pub const MAX_DESCRIPTORS: usize = 16;

/// Sends `bytes`, few enough to go at once, and `descriptors` with them.
///
/// # Errors
/// As `sendmsg(2)`; [`io::ErrorKind::WriteZero`] when not all bytes went.
pub async fn send(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty()
                && !control.push(SendAncillaryMessage::ScmRights(descriptors))
            {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let data = [IoSlice::new(bytes)];
            let sent =
                rustix::net::sendmsg(stream.as_fd(), &data, &mut control, SendFlags::NOSIGNAL)?;
            if sent == bytes.len() {
                Ok(())
            } else {
                Err(io::ErrorKind::WriteZero.into())
            }
        })
        .await
}

/// Receives what was sent at once: the number of bytes, 0 at the end of the stream, and the descriptors.
///
/// # Errors
/// As `recvmsg(2)`.
pub async fn receive(stream: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    stream
        .async_io(Interest::READABLE, || {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(
                stream.as_fd(),
                &mut [IoSliceMut::new(bytes)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            let descriptors = control
                .drain()
                .filter_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                    _ => None,
                })
                .flatten()
                .collect();
            Ok((received.bytes, descriptors))
        })
        .await
}
