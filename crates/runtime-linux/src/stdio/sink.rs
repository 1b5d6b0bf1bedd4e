//! A client's descriptor that receives output.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use container_api::streams::StandardStream;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Lifeline, QUEUE};

/// Hands bytes to the thread that writes them.
#[derive(Debug)]
pub struct Sink {
    client: Lifeline,
    sender: mpsc::Sender<Bytes>,
    finished: oneshot::Receiver<()>,
}

impl Sink {
    /// Writes output of `stream` to `descriptor` from a thread of its own, until the `client` has gone. When it cannot be
    /// written any more (nobody reads it, the disk is full), the client is told, and `lost` is cancelled.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(
        stream: StandardStream,
        descriptor: OwnedFd,
        client: Lifeline,
        lost: CancellationToken,
    ) -> io::Result<Self> {
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        let (done, finished) = oneshot::channel();
        let told = client.clone();
        std::thread::Builder::new()
            .name("output".into())
            .stack_size(64 << 10)
            .spawn(move || {
                let written = write(&descriptor, &mut receiver);
                if let Err(error) = written {
                    // Before anybody sees that nothing is taken any more: the client must know when it hears of the
                    // process's end.
                    told.tell(stream, error);
                }
                drop((descriptor, receiver));
                if written.is_err() {
                    lost.cancel();
                }
                // Nobody may wait for it any more.
                let _ = done.send(());
            })?;
        Ok(Self {
            client,
            sender,
            finished,
        })
    }

    /// Queues `data`, waiting while the client is slow or stopped. False when the client has gone, or cannot be written to.
    pub async fn send(&self, data: Bytes) -> bool {
        let sent = async {
            self.client.going_on().await;
            self.sender.send(data).await.is_ok()
        };
        tokio::select! {
            sent = sent => sent,
            () = self.client.cut() => false,
        }
    }

    /// Whether nothing can be written any more, or the client has gone.
    pub fn is_gone(&self) -> bool {
        self.sender.is_closed() || self.client.is_cut()
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

fn write(descriptor: &OwnedFd, receiver: &mut mpsc::Receiver<Bytes>) -> rustix::io::Result<()> {
    while let Some(data) = receiver.blocking_recv() {
        write_all(descriptor.as_fd(), &data)?;
    }
    Ok(())
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
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use container_api::lifeline::{Failed, Saying};

    use super::*;

    fn sink(descriptor: impl Into<OwnedFd>) -> (Sink, UnixStream, CancellationToken) {
        let (ours, client) = UnixStream::pair().unwrap();
        let lifeline = Lifeline::watch(Some(ours.into())).unwrap();
        let lost = CancellationToken::new();
        let stream = StandardStream::Stderr;
        let sink = Sink::new(stream, descriptor.into(), lifeline, lost.clone()).unwrap();
        (sink, client, lost)
    }

    fn told(client: &mut UnixStream) -> Option<Failed> {
        let mut message = [0; Failed::LENGTH];
        client.read_exact(&mut message).unwrap();
        Failed::decode(message)
    }

    #[tokio::test]
    async fn everything_is_written_before_it_finishes() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let (sink, _client, lost) = sink(writer);
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
        assert!(!lost.is_cancelled());
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_told_of() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let (sink, mut client, lost) = sink(writer);
        while sink.send(Bytes::from_static(b"x")).await {}
        lost.cancelled().await;
        assert!(sink.is_gone());
        sink.finish().await;
        let (stream, error) = (StandardStream::Stderr, 32);
        assert_eq!(told(&mut client), Some(Failed { stream, error }));
    }

    #[tokio::test]
    async fn a_full_disk_is_told_of_before_the_end() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (sink, mut client, lost) = sink(full);
        assert!(sink.send(Bytes::from_static(b"x")).await);
        sink.finish().await;
        client.set_nonblocking(true).unwrap();
        let (stream, error) = (StandardStream::Stderr, 28);
        assert_eq!(told(&mut client), Some(Failed { stream, error }));
        assert!(lost.is_cancelled());
    }

    #[tokio::test]
    async fn a_client_that_is_stopped_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (sink, mut client, _lost) = sink(writer);
        client.write_all(&[Saying::Hold.encode()]).unwrap();
        let short = std::time::Duration::from_millis(20);
        tokio::time::sleep(short).await;
        let sent = sink.send(Bytes::from_static(b"x"));
        tokio::time::timeout(short, sent).await.unwrap_err();
        client.write_all(&[Saying::GoOn.encode()]).unwrap();
        assert!(sink.send(Bytes::from_static(b"y")).await);
        let mut read = [0; 1];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, *b"y");
    }
}
