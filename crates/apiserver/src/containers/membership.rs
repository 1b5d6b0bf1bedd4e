//! `network connect` and `network disconnect`: other networks for a container at rest.

use std::sync::Arc;

use container_api::{Error, Kind};
use container_resource::bundle;
use container_resource::container::{AttachmentConfiguration, ContainerConfiguration};
use container_resource::room;

use super::create::kind;
use super::{Containers, Entry, not_found};

impl Containers {
    /// Puts the container `id`, which does not run, on a further network.
    ///
    /// # Errors
    /// When it runs, is on it, or what is asked for cannot be had.
    pub async fn connect(
        &self,
        id: &str,
        mut attachment: AttachmentConfiguration,
    ) -> Result<(), Error> {
        let entry = self.get(id)?;
        let _operation = entry.operation.lock().await;
        let mut configuration = self.at_rest_to_change(&entry)?;
        let network = attachment.network.clone();
        if position(&configuration, &network).is_some() {
            let text = format!("container {id} is on network {network} already");
            return Err(Error::new(Kind::Exists, text));
        }
        id.clone_into(&mut attachment.options.hostname);
        configuration.networks.push(attachment);
        room::check(&configuration).map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
        let before = entry.configuration()?;
        if let Err(error) = self.networks.arrive(&configuration).await {
            self.networks.part(id, &network).await;
            self.networks.join(id, &before.networks)?;
            return Err(error);
        }
        self.exchange(&entry, configuration)
    }

    /// Takes the container `id`, which does not run, off a network.
    ///
    /// # Errors
    /// When it runs, or is not on it.
    pub async fn disconnect(&self, id: &str, network: &str) -> Result<(), Error> {
        let entry = self.get(id)?;
        let _operation = entry.operation.lock().await;
        let mut configuration = self.at_rest_to_change(&entry)?;
        let position = position(&configuration, network).ok_or_else(|| {
            let text = format!("container {id} is not on network {network}");
            Error::new(Kind::NotFound, text)
        })?;
        configuration.networks.remove(position);
        if configuration.networks.is_empty() && !configuration.published_ports.is_empty() {
            let text = format!("container {id} publishes ports, and has no other network for them");
            return Err(Error::new(Kind::InvalidState, text));
        }
        self.networks.part(id, network).await;
        self.networks.join(id, &configuration.networks)?;
        self.exchange(&entry, configuration)
    }

    /// The configuration of `entry`, which must not run.
    fn at_rest_to_change(&self, entry: &Arc<Entry>) -> Result<ContainerConfiguration, Error> {
        if !self.is_current(entry) {
            return Err(not_found(&entry.id));
        }
        if entry.is_active() || entry.is_restarting() {
            let text = format!(
                "container {} is running: the networks of a running container cannot change",
                entry.id
            );
            return Err(Error::new(Kind::InvalidState, text)
                .with_hint(format!("Stop it first: `container stop {}`.", entry.id)));
        }
        entry.configuration().cloned()
    }

    /// Gives the container of `entry`, whose operation lock the caller holds, another configuration.
    pub(super) fn exchange(
        &self,
        entry: &Arc<Entry>,
        configuration: ContainerConfiguration,
    ) -> Result<(), Error> {
        bundle::write_json(&entry.bundle.configuration(), &configuration).map_err(|error| {
            Error::caused(kind(&error), error)
                .context(format_args!("change container {}", entry.id))
        })?;
        let successor = entry.successor(entry.bundle.clone(), configuration);
        self.replace(Arc::new(successor));
        Ok(())
    }
}

fn position(configuration: &ContainerConfiguration, network: &str) -> Option<usize> {
    let mut networks = configuration.networks.iter();
    networks.position(|attachment| attachment.network == network)
}
