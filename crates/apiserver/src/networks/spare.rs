//! A tap for a machine whose container is not known yet.

use std::os::fd::OwnedFd;

use container_api::network::SpareRequest;
use container_api::{Error, Kind};
use container_resource::bundle::Interface;

use super::Networks;

/// MAC address of the machine's device: nothing is sent by it, as the guest gets its container's before it is on a network.
const DEVICE_MAC: &str = "02:00:00:00:00:01";

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
        let receiver = self.receiver(&network.name).await?;
        let request = SpareRequest {
            token: receiver.token.clone(),
        };
        let reply = network
            .process
            .call(|mut client| async move { client.spare(request).await })
            .await?;
        Ok(Spare {
            name: reply.tap,
            tap: receiver.receive(&network.name).await?,
            interface: Interface {
                device_mac: DEVICE_MAC.to_owned(),
                ..like.clone()
            },
        })
    }
}
