//! A client's descriptor that gives input.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::{CHUNK, QUEUE};

/// Bytes of a client's descriptor, read by a thread of its own. Dropped: the thread stops.
#[derive(Debug)]
pub struct Source {
    receiver: mpsc::Receiver<rustix::io::Result<Bytes>>,
    /// Its closing wakes the thread.
    _stop: OwnedFd,
}

impl Source {
    /// Reads `descriptor` until its end.
    ///
    /// # Errors
    /// When no pipe or thread can be made.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        std::thread::Builder::new()
            .name("input".into())
            .stack_size(64 << 10)
            .spawn(move || read(&descriptor, &stopped, &sender))?;
        Ok(Self {
            receiver,
            _stop: stop,
        })
    }

    /// The next bytes, or `None` at the end. An error is the last that is given.
    pub async fn next(&mut self) -> Option<rustix::io::Result<Bytes>> {
        self.receiver.recv().await
    }
}

fn read(descriptor: &OwnedFd, stopped: &OwnedFd, sender: &mpsc::Sender<rustix::io::Result<Bytes>>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut ready = [
            PollFd::new(descriptor, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if !ready[1].revents().is_empty() {
            return;
        }
        if ready[0].revents().is_empty() {
            continue;
        }
        match rustix::io::read(descriptor.as_fd(), &mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if sender
                    .blocking_send(Ok(Bytes::copy_from_slice(&buffer[..length])))
                    .is_err()
                {
                    return;
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => {
                // Nobody may want to know any more.
                let _ = sender.blocking_send(Err(error));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn gives_the_bytes_and_then_the_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut source = Source::new(reader.into()).unwrap();
        writer.write_all(b"abc").unwrap();
        assert_eq!(source.next().await.unwrap().unwrap(), "abc");
        drop(writer);
        assert_eq!(source.next().await, None);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error() {
        let directory = std::fs::File::open("/").unwrap();
        let mut source = Source::new(directory.into()).unwrap();
        assert_eq!(source.next().await, Some(Err(Errno::ISDIR)));
        assert_eq!(source.next().await, None);
    }

    #[tokio::test]
    async fn dropping_it_lets_go_of_the_descriptor() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(Source::new(reader.into()).unwrap());
        // The thread closes the reader when it wakes; then writing fails.
        rustix::event::poll(&mut [PollFd::new(&writer, PollFlags::ERR)], None).unwrap();
        assert_eq!(
            writer.write(b"x").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
