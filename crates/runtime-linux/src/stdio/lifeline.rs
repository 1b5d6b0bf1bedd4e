//! Whether a client still lives, and what it and this side tell each other.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;

use container_api::lifeline::{Failed, Saying};
use container_api::streams::StandardStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A socket that ends with its client. Clones watch the same one.
#[derive(Clone, Debug)]
pub struct Lifeline {
    gone: CancellationToken,
    hung_up: CancellationToken,
    held: watch::Receiver<bool>,
    socket: Option<Arc<UnixStream>>,
}

impl Lifeline {
    /// Watches `socket`. Without one the client never goes, and says nothing.
    ///
    /// # Errors
    /// When `socket` is no stream socket.
    pub fn watch(socket: Option<OwnedFd>) -> io::Result<Self> {
        let (hold, held) = watch::channel(false);
        let mut lifeline = Self {
            gone: CancellationToken::new(),
            hung_up: CancellationToken::new(),
            held,
            socket: None,
        };
        if let Some(socket) = socket {
            let socket = StdStream::from(socket);
            socket.set_nonblocking(true)?;
            let socket = Arc::new(UnixStream::from_std(socket)?);
            lifeline.socket = Some(socket.clone());
            tokio::spawn(listen(
                socket,
                hold,
                lifeline.gone.clone(),
                lifeline.hung_up.clone(),
            ));
        }
        Ok(lifeline)
    }

    /// Waits until the client has gone.
    pub async fn cut(&self) {
        self.gone.cancelled().await;
    }

    /// Waits until the client has said that its terminal has gone.
    pub async fn hung_up(&self) {
        self.hung_up.cancelled().await;
    }

    /// Waits as long as the client is stopped by its terminal.
    pub async fn going_on(&self) {
        let mut held = self.held.clone();
        // An error is a client that says nothing any more.
        let _ = held.wait_for(|held| !held).await;
    }

    /// Whether the client has gone, by now.
    pub fn is_cut(&self) -> bool {
        let closed = |socket: &Arc<UnixStream>| {
            let mut ready = [PollFd::new(socket, PollFlags::RDHUP)];
            poll(&mut ready, Some(&Timespec::default())).is_ok_and(|number| number > 0)
        };
        self.gone.is_cancelled() || self.socket.as_ref().is_some_and(closed)
    }

    /// Tells the client that its descriptor of `stream` failed with `error`, without waiting: there are three of them, and
    /// the socket has room for hundreds.
    pub fn tell(&self, stream: StandardStream, error: Errno) {
        let Some(socket) = &self.socket else { return };
        let error = u8::try_from(error.raw_os_error()).unwrap_or_default();
        let told = rustix::net::send(
            socket,
            &Failed { stream, error }.encode(),
            rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT,
        );
        if let Err(error) = told {
            tracing::debug!("a client is not told that its {stream:?} failed: {error:#}");
        }
    }
}

/// Takes in what the client says, until it has gone.
async fn listen(
    socket: Arc<UnixStream>,
    hold: watch::Sender<bool>,
    gone: CancellationToken,
    hung_up: CancellationToken,
) {
    let mut said = [0; 64];
    loop {
        let read = match socket.readable().await {
            Ok(()) => socket.try_read(&mut said),
            Err(error) => Err(error),
        };
        let read = match read {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        for &byte in &said[..read] {
            match Saying::decode(byte) {
                Some(Saying::Hold) => {
                    hold.send_replace(true);
                }
                Some(Saying::GoOn) => {
                    hold.send_replace(false);
                }
                Some(Saying::HangUp) => hung_up.cancel(),
                None => {}
            }
        }
    }
    gone.cancel();
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[tokio::test]
    async fn is_cut_when_the_client_ends() {
        let (ours, client) = StdStream::pair().unwrap();
        let lifeline = Lifeline::watch(Some(ours.into())).unwrap();
        assert!(!lifeline.is_cut());
        drop(client);
        assert!(lifeline.is_cut());
        lifeline.cut().await;
        assert!(!Lifeline::watch(None).unwrap().is_cut());
    }

    #[tokio::test]
    async fn both_sides_hear_each_other() {
        let (ours, mut client) = StdStream::pair().unwrap();
        let lifeline = Lifeline::watch(Some(ours.into())).unwrap();
        client.write_all(&[Saying::Hold.encode()]).unwrap();
        let mut held = lifeline.held.clone();
        held.wait_for(|held| *held).await.unwrap();
        client
            .write_all(&[Saying::GoOn.encode(), 0, Saying::HangUp.encode()])
            .unwrap();
        lifeline.hung_up().await;
        lifeline.going_on().await;
        assert!(!lifeline.is_cut());
        lifeline.tell(StandardStream::Stdout, Errno::NOSPC);
        let mut told = [0; Failed::LENGTH];
        client.read_exact(&mut told).unwrap();
        let failed = Failed {
            stream: StandardStream::Stdout,
            error: 28,
        };
        assert_eq!(Failed::decode(told), Some(failed));
        // A client that is stopped when it is killed holds nobody up.
        client.write_all(&[Saying::Hold.encode()]).unwrap();
        held.wait_for(|held| *held).await.unwrap();
        drop(client);
        lifeline.going_on().await;
    }
}
