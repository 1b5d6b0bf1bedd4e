//! `network connect` and `network disconnect`: other networks for a container, whether it runs or not.

use std::sync::Arc;

use container_api::{Error, Kind};
use container_resource::bundle;
use container_resource::container::{AttachmentConfiguration, ContainerConfiguration};
use container_resource::event::{Action, Attribute};
use container_resource::room;

use super::create::kind;
use super::{Containers, Entry, not_found};

impl Containers {
    /// Puts the container `id` on a further network; one that runs, by a spare NIC of its machine.
    ///
    /// # Errors
    /// When it is on it, has no NIC left, or what is asked for cannot be had.
    pub async fn connect(
        &self,
        id: &str,
        attachment: AttachmentConfiguration,
    ) -> Result<(), Error> {
        let entry = self.get(id)?;
        let _operation = entry.operation.lock().await;
        let network = attachment.network.clone();
        self.connect_entry(&entry, attachment).await?;
        let told = [(Attribute::Network, network)];
        self.events.tell(Action::Connect, id, told);
        Ok(())
    }

    /// As [`Self::connect`]; the caller holds the entry's operation lock.
    async fn connect_entry(
        &self,
        entry: &Arc<Entry>,
        mut attachment: AttachmentConfiguration,
    ) -> Result<(), Error> {
        let id = entry.id.as_str();
        let before = self.changeable(entry)?;
        not_the_host_s(id, before.host_network)?;
        let mut configuration = (*before).clone();
        let network = attachment.network.clone();
        if position(&configuration, &network).is_some() {
            let text = format!("container {id} is on network {network} already");
            return Err(Error::new(Kind::Exists, text));
        }
        id.clone_into(&mut attachment.options.hostname);
        configuration.networks.push(attachment);
        room::check(&configuration).map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
        if entry.is_active() {
            self.networks.join(id, &configuration.networks)?;
            let connected = self.connect_running(entry, configuration).await;
            if connected.is_err() {
                self.networks.part(id, &network).await;
                self.networks.tell_others(&before).await;
            }
            return connected;
        }
        if let Err(error) = self.networks.arrive(&configuration).await {
            self.networks.part(id, &network).await;
            self.networks.join(id, &before.networks)?;
            return Err(error);
        }
        self.exchange(entry, configuration)
    }

    /// Takes the container `id` off a network; gives what its user has to know.
    ///
    /// # Errors
    /// When it is not on it, or publishes ports and has no other network.
    pub async fn disconnect(&self, id: &str, network: &str) -> Result<Vec<String>, Error> {
        let entry = self.get(id)?;
        let _operation = entry.operation.lock().await;
        let warnings = self.disconnect_entry(&entry, network).await?;
        let told = [(Attribute::Network, network.to_owned())];
        self.events.tell(Action::Disconnect, id, told);
        Ok(warnings)
    }

    /// As [`Self::disconnect`]; the caller holds the entry's operation lock.
    async fn disconnect_entry(
        &self,
        entry: &Arc<Entry>,
        network: &str,
    ) -> Result<Vec<String>, Error> {
        let id = entry.id.as_str();
        let mut configuration = (*self.changeable(entry)?).clone();
        not_the_host_s(id, configuration.host_network)?;
        let position = position(&configuration, network).ok_or_else(|| {
            let text = format!("container {id} is not on network {network}");
            Error::new(Kind::NotFound, text)
        })?;
        configuration.networks.remove(position);
        if configuration.networks.is_empty() && !configuration.published_ports.is_empty() {
            let text = format!("container {id} publishes ports, and has no other network for them");
            return Err(Error::new(Kind::InvalidState, text));
        }
        if entry.is_active() {
            return self.disconnect_running(entry, configuration, network).await;
        }
        self.networks.part(id, network).await;
        self.networks.join(id, &configuration.networks)?;
        self.exchange(entry, configuration)?;
        Ok(Vec::new())
    }

    /// The configuration of `entry`, which is not about to be started again.
    fn changeable(&self, entry: &Arc<Entry>) -> Result<Arc<ContainerConfiguration>, Error> {
        if !self.is_current(entry) {
            return Err(not_found(&entry.id));
        }
        if entry.is_restarting() {
            let text = format!("container {} is about to be started again", entry.id);
            return Err(Error::new(Kind::InvalidState, text)
                .with_hint(format!("Stop it first: `container stop {}`.", entry.id)));
        }
        entry.configuration()
    }

    /// Gives the container of `entry`, whose operation lock the caller holds, another configuration.
    pub(super) fn exchange(
        &self,
        entry: &Arc<Entry>,
        configuration: ContainerConfiguration,
    ) -> Result<(), Error> {
        write(entry, &configuration)?;
        let successor = entry.successor(entry.bundle.clone(), configuration);
        self.replace(Arc::new(successor));
        Ok(())
    }
}

/// Stores another configuration of `entry`.
pub(super) fn write(entry: &Entry, configuration: &ContainerConfiguration) -> Result<(), Error> {
    bundle::write_json(&entry.bundle.configuration(), configuration).map_err(|error| {
        Error::caused(kind(&error), error).context(format_args!("change container {}", entry.id))
    })
}

/// A container of `--network host` is on the network that this needs, and on no other.
fn not_the_host_s(id: &str, host_network: bool) -> Result<(), Error> {
    if !host_network {
        return Ok(());
    }
    let text =
        format!("container {id} has the network host, which it shares with no other and keeps");
    Err(Error::new(Kind::InvalidState, text)
        .with_hint("Create it anew with `--network <name>`, once for each network."))
}

fn position(configuration: &ContainerConfiguration, network: &str) -> Option<usize> {
    let mut networks = configuration.networks.iter();
    networks.position(|attachment| attachment.network == network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_s_network_is_the_only_one() {
        assert!(not_the_host_s("a", false).is_ok());
        let error = not_the_host_s("a", true).unwrap_err();
        assert_eq!(error.kind, Kind::InvalidState);
        assert!(
            error.message().contains("network host"),
            "{}",
            error.message()
        );
    }
}
