//! Networks made and deleted.

use std::sync::Arc;

use container_api::plugin::{self, ServiceKind};
use container_api::{Error, Kind};
use container_resource::network::NetworkConfiguration;
use container_resource::network_name;

use super::{Networks, containers_on, store};

impl Networks {
    /// Makes a network. Its process comes with the first container.
    ///
    /// # Errors
    /// When the name or the addresses are taken.
    pub async fn create(&self, mut configuration: NetworkConfiguration) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let name = configuration.name.clone();
        network_name::validate(&name)
            .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
        if self.entries().contains_key(&name) {
            return Err(Error::new(
                Kind::Exists,
                format!("network already exists: {name}"),
            ));
        }
        plugin::service(&self.roots, &configuration.plugin, ServiceKind::Network)?;
        self.settle(&mut configuration)?;
        store::write(&self.roots, &configuration).map_err(|error| {
            // What is left of it is removed with the next start of the system.
            Error::caused(Kind::Internal, error).context(format_args!("create network {name}"))
        })?;
        self.insert(name, Ok(configuration));
        Ok(())
    }

    /// Deletes the network `name`, on which no container is.
    ///
    /// # Errors
    /// When there is one, or the network is the builtin one.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        // What was just deleted is still being taken off its networks.
        self.settled().await;
        let network = self.find(name)?;
        if network.is_builtin() && network.configuration.is_ok() {
            let text = format!("network {name} is builtin and cannot be deleted");
            return Err(Error::new(Kind::InvalidState, text));
        }
        self.forget_unused(name)?;
        let removed = async {
            network.process.stop().await?;
            store::remove(&self.roots, name)
        };
        if let Err(error) = removed.await {
            self.insert(name.to_owned(), network.configuration.clone());
            return Err(
                Error::caused(Kind::Internal, error).context(format_args!("delete network {name}"))
            );
        }
        let _ = std::fs::remove_file(self.roots.log.join(format!("network-{name}.log")));
        Ok(())
    }

    /// Forgets the network, unless a container is on it. None can join it from here on.
    fn forget_unused(&self, name: &str) -> Result<(), Error> {
        let members = self.members();
        let on_it = containers_on(&members, name);
        if on_it.is_empty() {
            self.entries().remove(name);
            return Ok(());
        }
        let text = format!("network {name} is in use by {}", on_it.join(", "));
        Err(Error::new(Kind::InvalidState, text).with_hint(format!(
            "Delete them, or take them off: `container network disconnect {name} <container>`."
        )))
    }

    /// Deletes every network but the builtin one on which no container is; gives their names. One that a container has joined
    /// meanwhile, or that somebody else has deleted, is left out.
    ///
    /// # Errors
    /// When none could be deleted: the last one's that failed. Else the log tells of it.
    pub async fn prune(self: &Arc<Self>) -> Result<Vec<String>, Error> {
        self.settled().await;
        let names: Vec<String> = self
            .entries()
            .values()
            .filter(|network| !network.is_builtin())
            .map(|network| network.name.clone())
            .collect();
        let (mut deleted, mut failed) = (Vec::new(), None);
        for name in names {
            if !self.members_of(&name).is_empty() {
                continue;
            }
            match self.delete(&name).await {
                Ok(()) => deleted.push(name),
                Err(error) if matches!(error.kind, Kind::InvalidState | Kind::NotFound) => {}
                Err(error) => {
                    tracing::error!("{error:#}");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if deleted.is_empty() => Err(error),
            _ => Ok(deleted),
        }
    }
}
