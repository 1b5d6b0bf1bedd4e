//! The port as an asynchronous byte stream.
//!
//! A port without a peer reports a hang-up for as long as that lasts, which an edge-triggered reactor would
//! take for the end of the descriptor. So an epoll of our own watches the port, and the reactor watches that
//! one: readiness comes and goes with the peer.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::{Errno, read, write};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::watch::watch;

/// The driver copies a write into one buffer of at most this size (`port_fops_write`).
const WRITE_MAX: usize = 32 * 1024;

/// One connection's view of the port.
#[derive(Debug)]
pub struct PortStream {
    port: Arc<OwnedFd>,
    events: AsyncFd<OwnedFd>,
    /// Pieces of a vectored write, gathered: each write costs the host one notification.
    gathered: Vec<u8>,
}

impl PortStream {
    /// Watches `port`, which must not block.
    pub fn new(port: Arc<OwnedFd>) -> io::Result<Self> {
        let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let all = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&events, &port, epoll::EventData::new_u64(0), all)?;
        let events = watch(events, Interest::READABLE)?;
        Ok(Self {
            port,
            events,
            gathered: Vec::with_capacity(WRITE_MAX),
        })
    }

    /// Waits until the host's side is open.
    pub async fn connected(&self) -> io::Result<()> {
        while self.hung_up()? {
            std::future::poll_fn(|context| self.poll_events(context)).await?;
        }
        Ok(())
    }

    /// Waits until the host's side is closed.
    pub async fn disconnected(&self) -> io::Result<()> {
        while !self.hung_up()? {
            std::future::poll_fn(|context| self.poll_events(context)).await?;
        }
        Ok(())
    }

    fn hung_up(&self) -> io::Result<bool> {
        let mut port = [PollFd::new(&*self.port, PollFlags::IN)];
        poll(&mut port, Some(&Timespec::default()))?;
        Ok(port[0].revents().contains(PollFlags::HUP))
    }

    /// Ready when something has changed since the last call.
    fn poll_events(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.events.poll_read_ready(context))?;
        let mut event = [MaybeUninit::<epoll::Event>::uninit(); 1];
        epoll::wait(
            self.events.get_ref(),
            &mut event,
            Some(&Timespec::default()),
        )?;
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }

    fn poll_io<T>(
        &self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(&OwnedFd) -> rustix::io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match attempt(&self.port) {
                Err(Errno::AGAIN) => ready!(self.poll_events(context))?,
                Err(Errno::INTR) => {}
                result => return Poll::Ready(result.map_err(io::Error::from)),
            }
        }
    }
}

impl AsyncRead for PortStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The room is many times what one read gives: it is not filled with zeroes for each.
        // SAFETY: read(2) writes to the room, or leaves it as it is.
        let room = unsafe { buffer.unfilled_mut() };
        let count = ready!(self.poll_io(context, |port| {
            let (filled, _) = read(port, &mut *room)?;
            Ok(filled.len())
        }))?;
        // SAFETY: these bytes were written by read(2).
        unsafe { buffer.assume_init(count) };
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PortStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_io(context, |port| write(port, data))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.clear();
        for piece in pieces {
            let room = WRITE_MAX - gathered.len();
            gathered.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        let result = self.poll_io(context, |port| write(port, &gathered));
        self.gathered = gathered;
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The port outlives a connection, so there is nothing to close.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
