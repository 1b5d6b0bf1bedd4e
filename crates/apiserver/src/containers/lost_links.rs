//! Links of containers that run, after their network was lost: all its processes were killed, and its namespace went with them.

use std::sync::Arc;
use std::time::Duration;

use container_api::Error;
use container_resource::bundle::Boot;
use container_resource::event::{Action, Attribute};

use super::running_networks::{read_boot, write_boot};
use super::{Containers, Entry};

/// Between tries to put a container on a network that was lost: its guest, or a port, may not be ready for that at once.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(25),
    Duration::from_secs(125),
];

impl Containers {
    /// Puts containers on their networks anew whose processes were started again and have nothing of before.
    pub fn follow_networks(self: &Arc<Self>) {
        let Some(mut anew) = self.networks.started_anew() else {
            return;
        };
        let containers = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(network) = anew.recv().await {
                let Some(containers) = containers.upgrade() else {
                    return;
                };
                // One that does not answer keeps no other waiting.
                tokio::spawn(async move { containers.restore_links(&network).await });
            }
        });
    }

    async fn restore_links(&self, network: &str) {
        let entries = self.all();
        let on_it = entries.iter().filter(|entry| on(entry, network).is_some());
        let each = on_it.map(async |entry| {
            let mut pauses = PAUSES.iter();
            let mut is_told = false;
            while let Err(error) = self.restore_link(entry, network, &mut is_told).await {
                let id = &entry.id;
                tracing::error!(container = %id, "network {network} has lost it: {error:#}");
                match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return,
                }
            }
        });
        futures::future::join_all(each).await;
    }

    /// Puts the container of `entry` on `network` once more, if it runs and that has lost it.
    async fn restore_link(
        &self,
        entry: &Arc<Entry>,
        network: &str,
        is_told: &mut bool,
    ) -> Result<(), Error> {
        // A start or a stop goes on first, and sees to its networks itself.
        let _operation = entry.operation.lock().await;
        let is_here = self.is_current(entry) && entry.is_active();
        let id = &entry.id;
        let Some((boot, position)) = on(entry, network).filter(|_| is_here) else {
            return Ok(());
        };
        if !self.networks.has_lost(id, network).await? {
            return Ok(());
        }
        let told = || [(Attribute::Network, network.to_owned())];
        if !std::mem::replace(is_told, true) {
            self.events.tell(Action::Disconnect, id, told());
        }
        if let Err(error) = self.link_anew(entry, network, boot, position).await {
            // So it is not taken for one that is on it.
            self.networks.detach_from(id, network).await;
            return Err(error);
        }
        tracing::warn!(container = %id, "network {network} had lost it, and has it again");
        self.events.tell(Action::Connect, id, told());
        Ok(())
    }

    /// Links the container of `entry` to `network`, which is at `position` of what `boot` has.
    async fn link_anew(
        &self,
        entry: &Arc<Entry>,
        network: &str,
        mut boot: Boot,
        position: usize,
    ) -> Result<(), Error> {
        let configuration = entry.configuration()?;
        let ports = match position {
            0 => boot.published_ports.clone(),
            _ => Vec::new(),
        };
        let anew = self.networks.attach_anew(&configuration, network, &ports);
        let (mut interface, tap) = anew.await?;
        let helper = entry.helper()?;
        // What is behind its interface leads nowhere any more.
        helper.leave(&boot.interfaces, network, None).await?;
        let place = &mut boot.interfaces[position];
        interface.default_route = place.default_route;
        interface.device_mac.clear();
        *place = interface;
        let device_mac = helper.join(&boot.interfaces, tap).await?;
        boot.interfaces[position].device_mac = device_mac;
        write_boot(entry, &boot)?;
        entry.reconnect(&boot);
        Ok(())
    }
}

/// With what the container of `entry` was started, and where `network` is among its interfaces, if it is on that.
fn on(entry: &Arc<Entry>, network: &str) -> Option<(Boot, usize)> {
    let boot = read_boot(entry).ok()?;
    let mut interfaces = boot.interfaces.iter();
    let position = interfaces.position(|interface| interface.network == network)?;
    Some((boot, position))
}
