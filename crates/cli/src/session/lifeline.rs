use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;

use container_api::lifeline::{Failed, Saying};
use container_api::streams::StandardStream;
use rustix::io::Errno;
use tokio::net::UnixStream;

use crate::failure::Failure;

/// This end of the socket that closes with this process, however that ends: what was lent is given up then.
#[derive(Debug)]
pub struct Lifeline {
    ours: UnixStream,
    /// The helper's end, until it is lent.
    theirs: Option<OwnedFd>,
    /// The beginning of a message.
    begun: Option<u8>,
    closed: bool,
}

impl Lifeline {
    /// Both ends.
    ///
    /// # Errors
    /// As `socketpair(2)`.
    pub fn new() -> io::Result<Self> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok(Self {
            ours: UnixStream::from_std(ours)?,
            theirs: Some(theirs.into()),
            begun: None,
            closed: false,
        })
    }

    /// The end to hand over, once: after that only the helper may have it.
    pub fn lend(&mut self) -> io::Result<OwnedFd> {
        let again = || io::Error::other("the lifeline was lent already");
        self.theirs.take().ok_or_else(again)
    }

    /// Tells the helper something. One that has gone needs not be told.
    pub fn say(&self, saying: Saying) {
        let _ = self.ours.try_write(&[saying.encode()]);
    }

    /// Waits until one of the lent descriptors has failed. Nothing is lost when the future is dropped.
    pub async fn failed(&mut self) -> Failed {
        loop {
            if let Some(failed) = self.told() {
                return failed;
            }
            if self.closed || self.ours.readable().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next failure that has been reported.
    pub fn told(&mut self) -> Option<Failed> {
        let mut byte = [0];
        while !self.closed {
            match self.ours.try_read(&mut byte) {
                Ok(0) => self.closed = true,
                Ok(_) => match self.begun.take() {
                    None => self.begun = Some(byte[0]),
                    Some(first) => {
                        if let Some(failed) = Failed::decode([first, byte[0]]) {
                            return Some(failed);
                        }
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => self.closed = true,
            }
        }
        None
    }
}

/// What a descriptor that failed means for the command.
pub fn failure(failed: Failed) -> Failure {
    failure_with_output(failed, "standard output")
}

/// The same where what was lent as standard output is called `output`.
pub fn failure_with_output(failed: Failed, output: &str) -> Failure {
    let what = match failed.stream {
        StandardStream::Stdin => "cannot read standard input".to_owned(),
        _ if i32::from(failed.error) == Errno::PIPE.raw_os_error() => return Failure::BrokenPipe,
        StandardStream::Stdout => format!("cannot write to {output}"),
        StandardStream::Stderr => "cannot write to standard error".to_owned(),
    };
    let error = io::Error::from_raw_os_error(failed.error.into());
    Failure::Local(anyhow::Error::new(error).context(what))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn failures_are_heard_of_in_whatever_pieces_they_come() {
        let mut lifeline = Lifeline::new().unwrap();
        let mut helper = StdStream::from(lifeline.lend().unwrap());
        lifeline.lend().unwrap_err();
        assert_eq!(lifeline.told(), None);
        let full = Failed {
            stream: StandardStream::Stdout,
            error: 28,
        };
        let [first, second] = full.encode();
        helper.write_all(&[9, 9, first]).unwrap();
        assert_eq!(lifeline.told(), None);
        helper.write_all(&[second]).unwrap();
        assert_eq!(lifeline.failed().await, full);
        let text = format!("{:?}", failure(full));
        assert!(text.contains("cannot write to standard output"), "{text}");
        drop(helper);
        assert_eq!(lifeline.told(), None);
        let short = std::time::Duration::from_millis(10);
        tokio::time::timeout(short, lifeline.failed())
            .await
            .unwrap_err();
    }

    #[test]
    fn a_reader_that_has_gone_is_no_message() {
        let failed = |stream, error| failure(Failed { stream, error }).code();
        assert_eq!(failed(StandardStream::Stdout, 32), 141);
        assert_eq!(failed(StandardStream::Stderr, 32), 141);
        assert_eq!(failed(StandardStream::Stderr, 28), 1);
        assert_eq!(failed(StandardStream::Stdin, 21), 1);
    }
}
