//! Networks that come and go while the container runs, by the spare NICs of its machine.

use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use container_api::guest::{JoinRequest, LeaveRequest, Rewrite};
use container_api::{Error, Kind};
use container_engine::MacAddress;
use container_resource::bundle::Interface;
use tokio::sync::{mpsc, oneshot};

use super::Container;
use crate::files::files;
use crate::machine::{mac, mtu};
use crate::request;

/// What is asked of the machine, which its life has.
#[derive(Debug)]
pub(crate) enum NicRequest {
    /// Put the tap behind a NIC that is free, for packets of so many bytes; gives that one's address.
    Connect(OwnedFd, u16, oneshot::Sender<Result<MacAddress, Error>>),
    /// Make the NIC lead nowhere.
    Disconnect(MacAddress, oneshot::Sender<Result<(), Error>>),
}

impl Container {
    /// Connects the container by `tap` to the network of that one of `interfaces`, which are all that it has then, which has no device
    /// yet; of the last, where all have. Gives the MAC address of the device.
    ///
    /// # Errors
    /// When the machine has no spare NIC, or its guest does not set it up: all is as before then.
    pub async fn connect(&self, interfaces: &[Interface], tap: OwnedFd) -> Result<String, Error> {
        let mut guest = self.guest()?.calls();
        let mut before = interfaces.to_vec();
        let place = before.iter().position(|one| one.device_mac.is_empty());
        let Some(new) = place
            .map(|place| before.remove(place))
            .or_else(|| before.pop())
        else {
            return Err(Error::new(Kind::InvalidArgument, "no interface was told"));
        };
        let mtu = mtu(new.mtu)?;
        let mac = self
            .ask_machine(|reply| NicRequest::Connect(tap, mtu, reply))
            .await?;
        let interface = Interface {
            device_mac: mac.to_string(),
            ..new
        };
        let connected = guest.join(JoinRequest {
            interface: Some(request::interface(&interface)),
            files: self.rewritten(&before, interfaces),
        });
        if let Err(error) = self.ask(connected).await {
            // What the guest does with it later leads nowhere.
            if let Err(error) = self.close_tap(mac).await {
                tracing::warn!("{error:#}");
            }
            return Err(error);
        }
        Ok(mac.to_string())
    }

    /// Takes the interface on `network` away, one of `interfaces`, which are all that the container has. What is for elsewhere
    /// leaves by the interface on `heir` then.
    ///
    /// # Errors
    /// When the container is not on that network. A guest that does not obey is told of in the log: its device leads nowhere any more.
    pub async fn disconnect(
        &self,
        interfaces: &[Interface],
        network: &str,
        heir: Option<&str>,
    ) -> Result<(), Error> {
        let mut guest = self.guest()?.calls();
        let on = |name: &str| interfaces.iter().find(|one| one.network == name);
        let Some(leaving) = on(network) else {
            let text = format!(
                "container {} has no interface on network {network}",
                self.configuration.id
            );
            return Err(Error::new(Kind::NotFound, text));
        };
        let device = mac(&leaving.device_mac)?;
        let heir = heir.and_then(on).map(|heir| {
            let leads_out = Interface {
                default_route: true,
                ..heir.clone()
            };
            request::interface(&leads_out)
        });
        let others: Vec<Interface> = interfaces
            .iter()
            .filter(|one| one.network != network)
            .cloned()
            .collect();
        let given_up = guest.leave(LeaveRequest {
            device_mac: leaving.device_mac.clone(),
            heir,
            files: self.rewritten(interfaces, &others),
        });
        let given_up = self.ask(given_up).await;
        self.close_tap(device).await?;
        if let Err(error) = given_up {
            tracing::warn!("the guest does not give its interface on {network} up: {error:#}");
        }
        Ok(())
    }

    /// What is asked of the machine's NICs: its life takes this once.
    pub(crate) fn take_nic_requests(&self) -> Option<mpsc::Receiver<NicRequest>> {
        let mut asked = self.nics.1.lock().unwrap_or_else(PoisonError::into_inner);
        asked.take()
    }

    async fn close_tap(&self, mac: MacAddress) -> Result<(), Error> {
        self.ask_machine(|reply| NicRequest::Disconnect(mac, reply))
            .await
    }

    async fn ask_machine<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> NicRequest,
    ) -> Result<T, Error> {
        let stopping = || {
            let text = format!("container {} is stopping", self.configuration.id);
            Error::new(Kind::InvalidState, text)
        };
        let (reply, answer) = oneshot::channel();
        let sent = self.nics.0.send(request(reply)).await;
        sent.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Files that tell of networks, where they are others with `after` than with `before`.
    fn rewritten(&self, before: &[Interface], after: &[Interface]) -> Vec<Rewrite> {
        let configuration = &self.configuration;
        let (before, after) = (files(configuration, before), files(configuration, after));
        let pairs = before.into_iter().zip(after);
        let changed = pairs.filter(|(before, after)| before.data != after.data);
        changed
            .map(|(before, after)| Rewrite {
                path: before.path,
                before: before.data,
                data: after.data,
            })
            .collect()
    }
}
