//! A tap for a machine whose container is not known yet.

use std::os::fd::OwnedFd;

use container_api::network::SpareRequest;
use container_api::{Error, Kind};
use container_resource::bundle::Interface;

use super::{Network, Networks};

/// A tap that is on no network's bridge yet. It goes when nobody has it open.
#[derive(Debug)]
pub struct Spare {
    /// Its name in its network's namespace.
    pub name: String,
    /// Its descriptor.
    pub tap: OwnedFd,
    /// The interface that has it: of its container nothing is known.
    pub interface: Interface,
}

impl Networks {
    /// A tap of `network` that is on no bridge yet, with its name.
    pub(super) async fn new_tap(&self, network: &Network) -> Result<(String, OwnedFd), Error> {
        let receiver = self.receiver(&network.name).await?;
        let request = SpareRequest {
            token: receiver.token.clone(),
        };
        let reply = network
            .process
            .call_once(|mut client| async move { client.spare(request).await })
            .await?;
        Ok((reply.tap, receiver.receive(&network.name).await?))
    }

    /// Makes a tap for an interface like `like`, in the namespace of its network.
    ///
    /// # Errors
    /// When the network is gone or does not work.
    pub async fn spare(&self, like: &Interface) -> Result<Spare, Error> {
        let network = self.find(&like.network)?;
        // It is not started for this: somebody used it just now.
        if network.process.present().await.is_none() {
            let text = format!("network {} is not served", network.name);
            return Err(Error::new(Kind::Unavailable, text));
        }
        let (name, tap) = self.new_tap(&network).await?;
        let mut interface = like.clone();
        interface.save();
        Ok(Spare {
            name,
            tap,
            interface,
        })
    }
}
