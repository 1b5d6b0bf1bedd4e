//! Taps, as they come from a network's process.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};

use container_api::handover::{self, Tap};
use container_api::{Error, Kind, descriptors};
use tokio::net::UnixStream;

use super::Networks;
use super::process::killed;

/// A socket on which a tap comes.
pub(super) struct Receiver {
    stream: UnixStream,
    pub(super) token: String,
}

impl Receiver {
    /// The tap, which is there when the call that asked for it was answered.
    pub(super) async fn receive(mut self, network: &str) -> Result<OwnedFd, Error> {
        let received = handover::receive::<Tap>(&mut self.stream).await;
        let tap = received.map(|received| received?.1.into_iter().next());
        match tap {
            Ok(Some(tap)) => Ok(tap),
            Ok(None) => {
                let text = format!("network {network} handed no tap over");
                Err(Error::new(Kind::Internal, text))
            }
            Err(error) => Err(Error::caused(Kind::Internal, error)
                .context(format_args!("take the tap of network {network}"))),
        }
    }
}

impl Networks {
    /// Where a tap of `network` will come back.
    pub(super) async fn receiver(&self, network: &str) -> Result<Receiver, Error> {
        let made = async {
            let (stream, theirs) = UnixStream::pair()?;
            let path = self.roots.network_descriptors(network);
            let token = descriptors::send(&path, &[theirs.as_fd()]).await?;
            Ok::<_, std::io::Error>(Receiver { stream, token })
        };
        made.await.map_err(|error| {
            let error = match error.kind() {
                ErrorKind::ConnectionRefused => return killed(network),
                _ => Error::caused(Kind::Unavailable, error),
            };
            error.context(format_args!("network {network}"))
        })
    }
}
