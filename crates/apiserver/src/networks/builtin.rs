//! The builtin network, which a container is on unless it asks for another.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use container_api::{Error, Kind};
use container_resource::label::well_known;
use container_resource::network::{
    DEFAULT, DEFAULT_MTU, DEFAULT_PLUGIN, NetworkConfiguration, NetworkMode,
};
use container_resource::network_status::BUILTIN;
use jiff::Timestamp;

use super::{Networks, store};
use crate::trouble::Trouble;

impl Networks {
    /// Makes the builtin network where it is missing, and makes it anew where the configuration file asks for other subnets, unless
    /// containers have addresses there. What is in the way is told of: see [`Self::troubles`].
    ///
    /// To be called when every container is known.
    pub async fn settle_builtin(&self) {
        let _changing = self.changing.lock().await;
        let trouble = match self.renew_builtin().await {
            Ok(()) => return,
            Err(error) => format!("{error:#}"),
        };
        tracing::warn!("network {DEFAULT}: {trouble}");
        *self.builtin.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    async fn renew_builtin(&self) -> Result<(), Error> {
        let Ok(present) = self.find(DEFAULT) else {
            return self.make_builtin(self.as_configured()?);
        };
        let Ok(configuration) = &present.configuration else {
            return Ok(());
        };
        let (ipv4, ipv6) = (self.settings.subnet, self.settings.subnetv6);
        if ipv4.is_none_or(|subnet| configuration.ipv4_subnet == Some(subnet))
            && ipv6.is_none_or(|subnet| configuration.ipv6_subnet == Some(subnet))
        {
            return Ok(());
        }
        let on_it = self.members_of(DEFAULT);
        if !on_it.is_empty() {
            let text = format!(
                "it keeps its subnets, not those of the configuration, while containers have addresses there: {}",
                on_it.join(", ")
            );
            return Err(Error::new(Kind::InvalidState, text));
        }
        // Whether the new subnets can be had is known before the old network goes.
        let renewed = self.as_configured()?;
        let internal = |error| Error::caused(Kind::Internal, error);
        present.process.stop().await.map_err(internal)?;
        self.entries().remove(DEFAULT);
        store::remove(&self.roots, DEFAULT).map_err(internal)?;
        self.make_builtin(renewed)
    }

    fn make_builtin(&self, configuration: NetworkConfiguration) -> Result<(), Error> {
        store::write(&self.roots, &configuration)
            .map_err(|error| Error::caused(Kind::Internal, error))?;
        self.insert(DEFAULT.to_owned(), Ok(configuration));
        Ok(())
    }

    /// As the configuration file asks, with addresses that are free.
    fn as_configured(&self) -> Result<NetworkConfiguration, Error> {
        let mut configuration = NetworkConfiguration {
            name: DEFAULT.to_owned(),
            creation_date: Timestamp::now(),
            mode: NetworkMode::Nat,
            ipv4_subnet: self.settings.subnet,
            ipv6_subnet: self.settings.subnetv6,
            mtu: DEFAULT_MTU,
            egress: None,
            labels: [(well_known::ROLE.to_owned(), BUILTIN.to_owned())].into(),
            plugin: DEFAULT_PLUGIN.to_owned(),
            options: BTreeMap::new(),
        };
        self.settle(&mut configuration)?;
        Ok(configuration)
    }

    /// Why the builtin network is not as the configuration file asks.
    pub(super) fn builtin_trouble(&self) -> Option<(String, Trouble)> {
        let builtin = self.builtin.lock().unwrap_or_else(PoisonError::into_inner);
        let message = builtin.clone()?;
        Some((
            format!("network {DEFAULT}"),
            Trouble {
                failures: 0,
                message,
            },
        ))
    }
}
