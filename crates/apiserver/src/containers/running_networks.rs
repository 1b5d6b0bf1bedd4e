//! Networks that come and go while a container runs.
//!
//! Three know of each: the network's process, the machine with its guest, and the bundle. They are told in this order when one comes, and
//! the machine is told first when one goes. What is lost half-way leaves a NIC that leads nowhere, and the addresses are released
//! when somebody next asks that network for some.

use std::sync::Arc;

use container_api::{Error, Kind};
use container_resource::bundle::{self, Boot, Interface};
use container_resource::container::ContainerConfiguration;

use super::create::kind;
use super::membership::write;
use super::{Containers, Entry};

impl Containers {
    /// Connects the container of `entry`, which runs, to the last network of `configuration`, which is what it is to have.
    ///
    /// # Errors
    /// When the network does not work, or the machine has no spare NIC: it is connected to nothing new then.
    pub(super) async fn connect_running(
        &self,
        entry: &Arc<Entry>,
        configuration: ContainerConfiguration,
    ) -> Result<(), Error> {
        let helper = entry.helper()?;
        let mut boot = read_boot(entry)?;
        let (mut interface, tap) = self.networks.attach_further(&configuration).await?;
        interface.default_route &= !boot.interfaces.iter().any(|other| other.default_route);
        let network = interface.network.clone();
        boot.interfaces.push(interface);
        let joined = helper.join(&boot.interfaces, tap).await;
        let device_mac = joined.map_err(|error| explain(&entry.id, &network, error))?;
        if let Some(interface) = boot.interfaces.last_mut() {
            interface.device_mac = device_mac;
        }
        let stored = write_boot(entry, &boot).and_then(|()| store(entry, &configuration));
        if let Err(error) = stored {
            if let Err(error) = helper.leave(&boot.interfaces, &network, None).await {
                tracing::warn!(container = %entry.id, "{error:#}");
            }
            boot.interfaces.pop();
            // As it was, as far as that is possible: the first error is the one to tell.
            let _ = write_boot(entry, &boot);
            return Err(error);
        }
        entry.reconfigure(configuration);
        entry.reconnect(&boot);
        Ok(())
    }

    /// Takes the container of `entry`, which runs, off `network`; `configuration` is what it is to have. Gives what its user has
    /// to know.
    ///
    /// # Errors
    /// When its helper does not answer, or the change cannot be stored.
    pub(super) async fn disconnect_running(
        &self,
        entry: &Arc<Entry>,
        configuration: ContainerConfiguration,
        network: &str,
    ) -> Result<Vec<String>, Error> {
        let helper = entry.helper()?;
        let mut boot = read_boot(entry)?;
        let mut warnings = Vec::new();
        let is_it = |interface: &Interface| interface.network == network;
        // It may run without one that nobody has asked for.
        if let Some(position) = boot.interfaces.iter().position(is_it) {
            let heir = self.heir(&configuration, &boot.interfaces, position);
            let name = heir.map(|heir| boot.interfaces[heir].network.clone());
            helper
                .leave(&boot.interfaces, network, name.as_deref())
                .await?;
            if let Some(heir) = heir {
                boot.interfaces[heir].default_route = true;
            }
            boot.interfaces.remove(position);
            if position == 0 && !boot.published_ports.is_empty() {
                boot.published_ports.clear();
                warnings.push(format!(
                    "the published ports of container {} led to network {network}: until it is started again they lead nowhere",
                    entry.id
                ));
            }
        }
        self.networks.part(&entry.id, network).await;
        self.networks.tell_others(&configuration).await;
        entry.reconfigure(configuration.clone());
        entry.reconnect(&boot);
        write_boot(entry, &boot)?;
        store(entry, &configuration)?;
        Ok(warnings)
    }

    /// By which of `interfaces` leaves what is for elsewhere when the one at `position` has gone; nothing where that changes nothing.
    fn heir(
        &self,
        configuration: &ContainerConfiguration,
        interfaces: &[Interface],
        position: usize,
    ) -> Option<usize> {
        if !interfaces[position].default_route {
            return None;
        }
        let others = interfaces
            .iter()
            .map(|interface| interface.network.as_str());
        let leading_out: Vec<(usize, &str)> = others
            .enumerate()
            .filter(|(number, network)| *number != position && self.networks.leads_out(network))
            .collect();
        self.networks.carrier(configuration, &leading_out)
    }
}

/// Why a container that runs is not connected, and what helps.
fn explain(id: &str, network: &str, error: Error) -> Error {
    if error.kind != Kind::Unsupported {
        return error.context(format_args!("connect container {id} to network {network}"));
    }
    let text = format!("container {id} is running, and its machine has no spare network interface");
    Error::new(Kind::InvalidState, text).with_hint(format!(
        "Stop it, connect it, and start it again: `container stop {id}`, `container network connect {network} {id}`, \
         `container start {id}`."
    ))
}

/// Stores the networks of `configuration`. What else is planned for the container's next start stays.
fn store(entry: &Entry, configuration: &ContainerConfiguration) -> Result<(), Error> {
    let planned = ContainerConfiguration {
        networks: configuration.networks.clone(),
        ..entry.planned().configuration
    };
    write(entry, &planned)
}

pub(super) fn read_boot(entry: &Entry) -> Result<Boot, Error> {
    bundle::read_json(&entry.bundle.boot())
        .map_err(|error| Error::caused(Kind::Internal, error).context("read boot.json"))
}

pub(super) fn write_boot(entry: &Entry, boot: &Boot) -> Result<(), Error> {
    bundle::write_json(&entry.bundle.boot(), boot).map_err(|error| {
        Error::caused(kind(&error), error).context(format_args!("change container {}", entry.id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_is_told_where_there_is_no_spare_interface() {
        let error = explain("web", "b", Error::new(Kind::Unsupported, "x"));
        assert_eq!(error.kind, Kind::InvalidState);
        assert!(
            error
                .hint
                .unwrap()
                .contains("`container network connect b web`")
        );
        let error = explain("web", "b", Error::new(Kind::Timeout, "no answer"));
        assert_eq!(
            error.message(),
            "connect container web to network b: no answer"
        );
    }
}
