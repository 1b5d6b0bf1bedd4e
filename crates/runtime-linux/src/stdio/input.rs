//! A process's standard input: from one client after another, or several.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use container_api::streams::StandardStream;
use tokio::sync::mpsc;

use super::{Lifeline, QUEUE, Source};

/// What clients give to a process.
#[derive(Clone, Debug)]
pub struct Input {
    sender: mpsc::Sender<Given>,
}

#[derive(Debug)]
enum Given {
    Data(Bytes),
    End,
}

/// The receiving side: what the process reads.
#[derive(Debug)]
pub struct InputStream {
    receiver: mpsc::Receiver<Given>,
}

impl Input {
    /// An input that nobody gives anything yet.
    pub fn new() -> (Self, InputStream) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender }, InputStream { receiver })
    }

    /// Reads `descriptor` for the process until its end or until the `client` has gone.
    ///
    /// The end of what the client gives is the process's end of input where `closes` is set; what cannot be read is an
    /// end, of which the client is told. A client that went away leaves the input open for the next one.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn give(&self, descriptor: OwnedFd, client: Lifeline, closes: bool) -> io::Result<()> {
        let mut source = Source::new(descriptor)?;
        let sender = self.sender.clone();
        tokio::spawn(async move {
            loop {
                let data = tokio::select! {
                    data = source.next() => data,
                    () = client.cut() => return,
                    () = sender.closed() => return,
                };
                let given = match data {
                    Some(Ok(data)) => Given::Data(data),
                    // A client that dies cuts its lifeline before it closes its input.
                    None | Some(Err(_)) if client.is_cut() => return,
                    None if !closes => return,
                    Some(Err(error)) => {
                        client.tell(StandardStream::Stdin, error);
                        if !closes {
                            return;
                        }
                        Given::End
                    }
                    None => Given::End,
                };
                let ends = matches!(given, Given::End);
                if sender.send(given).await.is_err() || ends {
                    return;
                }
            }
        });
        Ok(())
    }
}

impl InputStream {
    /// The next bytes, or `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        match self.receiver.recv().await {
            Some(Given::Data(data)) => Some(data),
            Some(Given::End) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_second_client_goes_on_where_the_first_one_left() {
        let (input, mut stream) = Input::new();
        let (reader, mut writer) = io::pipe().unwrap();
        let (end, line) = std::os::unix::net::UnixStream::pair().unwrap();
        let client = Lifeline::watch(Some(end.into())).unwrap();
        input.give(reader.into(), client, true).unwrap();
        writer.write_all(b"one").unwrap();
        assert_eq!(stream.next().await.unwrap(), "one");
        drop(line);
        drop(writer);
        let (reader, mut writer) = io::pipe().unwrap();
        input
            .give(reader.into(), Lifeline::watch(None).unwrap(), true)
            .unwrap();
        writer.write_all(b"two").unwrap();
        assert_eq!(stream.next().await.unwrap(), "two");
        drop(writer);
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_end_that_the_client_is_told_of() {
        let (input, mut stream) = Input::new();
        let (end, mut line) = std::os::unix::net::UnixStream::pair().unwrap();
        let client = Lifeline::watch(Some(end.into())).unwrap();
        let directory = std::fs::File::open("/").unwrap();
        input.give(directory.into(), client, true).unwrap();
        assert_eq!(stream.next().await, None);
        let mut told = [0; 2];
        std::io::Read::read_exact(&mut line, &mut told).unwrap();
        let error = rustix::io::Errno::ISDIR.raw_os_error().try_into().unwrap();
        let stream = StandardStream::Stdin;
        let failed = container_api::lifeline::Failed { stream, error };
        assert_eq!(container_api::lifeline::Failed::decode(told), Some(failed));
    }
}
