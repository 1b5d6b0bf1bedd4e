//! A connection of a socket, carried as the two bodies of one request on the guest channel.
//!
//! Both ends of the channel do the same. What a connection says is a body, whose end is the end of what it says: the other
//! side may go on (`shutdown(2)`). A connection that fails breaks the body, which closes the connection at the other end at
//! once. A body is read no faster than its socket takes it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;

/// Connections of one container that are carried at a time; more wait for their turn.
pub const CONNECTIONS: u32 = 128;

/// UDP ports of one container that are carried at a time, each with a stream for as long as it is open.
pub const DATAGRAM_PORTS: u32 = 64;

/// Streams that a container's sockets may have at a time: of each socket, one connection may wait. The channel's windows have
/// room for all of them, so that those that nobody reads hold up nothing else.
pub const STREAMS: u32 = CONNECTIONS + DATAGRAM_PORTS + 64;

/// What the other side of a connection says.
pub type Said = Incoming;

/// The most bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// How often it is looked whether a peer that says nothing more has gone: nothing but a write would tell.
const LOOK: Duration = Duration::from_secs(30);

type Frames = mpsc::Sender<io::Result<Frame<Bytes>>>;

/// One end of a relayed connection, before it is known whether there is a connection.
#[derive(Debug)]
pub struct Relay {
    frames: Frames,
    broken: Arc<watch::Sender<bool>>,
}

impl Relay {
    /// The relay, and the body that will have what its connection says.
    pub fn new() -> (Self, Body) {
        let (frames, body) = mpsc::channel(1);
        let broken = Arc::new(watch::Sender::new(false));
        let body = Body::new(StreamBody::new(ReceiverStream::new(body)));
        (Self { frames, broken }, body)
    }

    /// There is no connection: the body breaks.
    pub async fn refuse(self, error: io::Error) {
        // Nobody waits for it any more.
        let _ = self.frames.send(Err(error)).await;
    }

    /// As [`Self::carry`], of a TCP connection.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub async fn carry_tcp(self, connection: TcpStream, data: Said) -> io::Result<()> {
        // What is done with it does not look at addresses: it is the same for a stream of any family.
        let connection = OwnedFd::from(connection.into_std()?);
        let connection = UnixStream::from_std(connection.into())?;
        self.carry(connection, data).await;
        Ok(())
    }

    /// Carries `connection` until both sides have ended, or one has failed. `data` is for it.
    pub async fn carry(self, connection: UnixStream, data: Said) {
        let (reader, writer) = connection.into_split();
        let Self { frames, broken } = self;
        let out = read(reader, frames, &broken);
        let into = write(writer, data, &broken);
        tokio::join!(out, into);
    }
}

/// Waits until the connection has failed.
async fn failed(broken: &watch::Sender<bool>) {
    // The sender is there.
    let _ = broken.subscribe().wait_for(|broken| *broken).await;
}

async fn read(reader: OwnedReadHalf, frames: Frames, broken: &watch::Sender<bool>) {
    loop {
        let error = tokio::select! {
            ready = reader.readable() => ready.err(),
            // The other side has given the connection up.
            () = frames.closed() => {
                broken.send_replace(true);
                return;
            }
            () = failed(broken) => Some(io::ErrorKind::BrokenPipe.into()),
        };
        // Room is made when there is something: most connections are silent most of the time.
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let next = match error {
            Some(error) => Err(error),
            None => match reader.try_read_buf(&mut chunk) {
                // No more frames: the body ends.
                Ok(0) => return,
                Ok(_) => Ok(Frame::data(chunk.freeze())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => Err(error),
            },
        };
        let over = next.is_err();
        if over {
            broken.send_replace(true);
        }
        if frames.send(next).await.is_err() {
            broken.send_replace(true);
            return;
        }
        if over {
            return;
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut data: Incoming, broken: &watch::Sender<bool>) {
    loop {
        let frame = tokio::select! {
            frame = data.frame() => frame,
            () = failed(broken) => return,
            () = gone(&writer) => {
                broken.send_replace(true);
                return;
            }
        };
        let data = match frame {
            // Whoever reads sees the end, and may still answer.
            None => {
                let _ = writer.shutdown().await;
                return;
            }
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) => {
                broken.send_replace(true);
                return;
            }
        };
        let written = tokio::select! {
            written = writer.write_all(&data) => written,
            () = failed(broken) => return,
        };
        if written.is_err() {
            broken.send_replace(true);
            return;
        }
    }
}

/// Waits until the peer of `writer` is seen to have closed both its ways.
async fn gone(writer: &OwnedWriteHalf) {
    loop {
        tokio::time::sleep(LOOK).await;
        let mut polled = [PollFd::new(writer.as_ref(), PollFlags::empty())];
        let looked = poll(&mut polled, Some(&Timespec::default()));
        if looked.is_ok() && polled[0].revents().contains(PollFlags::HUP) {
            return;
        }
    }
}
