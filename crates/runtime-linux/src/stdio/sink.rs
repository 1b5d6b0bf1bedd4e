//! A client's descriptor that receives output.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use super::{Lifeline, QUEUE};

/// Hands bytes to the thread that writes them.
#[derive(Debug)]
pub struct Sink {
    client: Lifeline,
    sender: mpsc::Sender<Bytes>,
    finished: oneshot::Receiver<()>,
}

impl Sink {
    /// Writes to `descriptor` from a thread of its own, until the `client` has gone.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(descriptor: OwnedFd, client: Lifeline) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (done, finished) = oneshot::channel();
        std::thread::Builder::new()
            .name("output".into())
            .stack_size(64 << 10)
            .spawn(move || {
                write(&descriptor, receiver);
                drop(descriptor);
                // Nobody may wait for it any more.
                let _ = done.send(());
            })?;
        Ok(Self {
            client,
            sender,
            finished,
        })
    }

    /// Queues `data`, waiting while the client is slow. False when the client has gone.
    pub async fn send(&self, data: Bytes) -> bool {
        tokio::select! {
            sent = self.sender.send(data) => sent.is_ok(),
            () = self.client.cut() => false,
        }
    }

    /// Whether the client has gone.
    pub fn is_gone(&self) -> bool {
        self.client.is_cut()
    }

    /// Waits until everything queued has been written, or the client has gone.
    pub async fn finish(self) {
        drop(self.sender);
        tokio::select! {
            // An error means that the thread is gone, which is as good.
            _ = self.finished => {}
            () = self.client.cut() => {}
        }
    }
}

fn write(descriptor: &OwnedFd, mut receiver: mpsc::Receiver<Bytes>) {
    while let Some(data) = receiver.blocking_recv() {
        if write_all(descriptor.as_fd(), &data).is_err() {
            return;
        }
    }
}

fn write_all(descriptor: BorrowedFd<'_>, mut data: &[u8]) -> rustix::io::Result<()> {
    while !data.is_empty() {
        match rustix::io::write(descriptor, data) {
            Ok(written) => data = &data[written..],
            Err(Errno::INTR) => {}
            // The client made its own descriptor non-blocking.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&descriptor, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn everything_is_written_before_it_finishes() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let sink = Sink::new(writer.into(), Lifeline::watch(None).unwrap()).unwrap();
        let collected = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all
        });
        for number in 0..50_u8 {
            assert!(sink.send(Bytes::from(vec![number; 10_000])).await);
        }
        sink.finish().await;
        let all = collected.join().unwrap();
        assert_eq!(all.len(), 500_000);
        assert!(
            all.chunks(10_000)
                .zip(0..)
                .all(|(chunk, number)| chunk.iter().all(|byte| *byte == number))
        );
    }

    #[tokio::test]
    async fn a_client_that_has_gone_is_noticed() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let sink = Sink::new(writer.into(), Lifeline::watch(None).unwrap()).unwrap();
        while sink.send(Bytes::from_static(b"x")).await {}
        sink.finish().await;
    }
}
