//! Links of containers that run, after their network was lost: all its processes were killed, and its namespace went with them.

use std::sync::Arc;

use container_api::Error;
use container_resource::event::{Action, Attribute};

use super::running_networks::{read_boot, write_boot};
use super::{Containers, Entry};

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
                containers.restore_links(&network).await;
            }
        });
    }

    async fn restore_links(&self, network: &str) {
        let entries = self.all();
        let each = entries.iter().map(async |entry| {
            // A start or a stop goes on first, and sees to its networks itself.
            let _operation = entry.operation.lock().await;
            if !self.is_current(entry) || !entry.is_active() {
                return;
            }
            let id = &entry.id;
            match self.restore_link(entry, network).await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::warn!(container = %id, "network {network} had lost it, and has it again");
                    let told = [(Attribute::Network, network.to_owned())];
                    self.events.tell(Action::Connect, id, told);
                }
                Err(error) => {
                    tracing::error!(container = %id, "network {network} has lost it: {error:#}");
                }
            }
        });
        futures::future::join_all(each).await;
    }

    /// Puts the container of `entry`, which runs, on `network` once more, if that has lost it; whether it had.
    async fn restore_link(&self, entry: &Arc<Entry>, network: &str) -> Result<bool, Error> {
        let id = &entry.id;
        let mut boot = read_boot(entry)?;
        let mut on_it = boot.interfaces.iter();
        let Some(position) = on_it.position(|interface| interface.network == network) else {
            return Ok(false);
        };
        if !self.networks.has_lost(id, network).await? {
            return Ok(false);
        }
        let told = [(Attribute::Network, network.to_owned())];
        self.events.tell(Action::Disconnect, id, told);
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
        Ok(true)
    }
}
