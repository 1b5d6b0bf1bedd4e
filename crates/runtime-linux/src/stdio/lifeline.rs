//! Whether a client still lives.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

/// A pipe that ends with its client. Clones watch the same one.
#[derive(Clone, Debug)]
pub struct Lifeline {
    gone: CancellationToken,
    pipe: Option<Arc<OwnedFd>>,
}

impl Lifeline {
    /// Watches `pipe`. Without one the client never goes.
    ///
    /// # Errors
    /// When `pipe` is not the reading end of a pipe.
    pub fn watch(pipe: Option<OwnedFd>) -> io::Result<Self> {
        let gone = CancellationToken::new();
        let Some(pipe) = pipe else {
            return Ok(Self { gone, pipe: None });
        };
        let watched = pipe::Receiver::from_owned_fd(pipe.try_clone()?)?;
        let token = gone.clone();
        tokio::spawn(async move {
            // Nothing is ever written: readable is the end.
            let _ = watched.ready(Interest::READABLE).await;
            token.cancel();
        });
        Ok(Self {
            gone,
            pipe: Some(Arc::new(pipe)),
        })
    }

    /// Waits until the client has gone.
    pub async fn cut(&self) {
        self.gone.cancelled().await;
    }

    /// Whether the client has gone, by now.
    pub fn is_cut(&self) -> bool {
        let hung_up = |pipe: &Arc<OwnedFd>| {
            let mut ready = [PollFd::new(pipe, PollFlags::IN)];
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            poll(&mut ready, Some(&now)).is_ok_and(|number| number > 0)
        };
        self.gone.is_cancelled() || self.pipe.as_ref().is_some_and(hung_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_cut_when_the_client_ends() {
        let (reader, writer) = io::pipe().unwrap();
        let lifeline = Lifeline::watch(Some(reader.into())).unwrap();
        assert!(!lifeline.is_cut());
        drop(writer);
        assert!(lifeline.is_cut());
        lifeline.cut().await;
        assert!(!Lifeline::watch(None).unwrap().is_cut());
    }
}
