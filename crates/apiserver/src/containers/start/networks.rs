//! The networks of a container that starts.

use container_api::{Error, Kind};
use container_resource::container::ContainerConfiguration;
use container_resource::publish;

use crate::containers::Containers;
use crate::networks::Attached;
use crate::standby::Waiting;

impl Containers {
    /// Puts the container on its networks, with the tap of the machine that waits in `standby`: that waits no more where it
    /// cannot be done.
    pub(super) async fn put_on_networks(
        &self,
        configuration: &ContainerConfiguration,
        standby: &mut Option<Waiting>,
    ) -> Result<Attached, Error> {
        let spare = standby.as_ref().and_then(|waiting| waiting.spare.as_ref());
        // A helper that takes the place of the one that waits needs it.
        let both = spare.and_then(|spare| Some((spare, spare.tap.try_clone().ok()?)));
        if let Some((spare, tap)) = both {
            let attached = self.networks.attach(configuration, Some(spare)).await;
            match attached {
                Ok(mut attached) if !attached.interfaces.is_empty() => {
                    attached.taps.push(tap);
                    return Ok(attached);
                }
                attached => {
                    tracing::debug!(?attached, "the tap of the standby machine is of no use");
                    *standby = None;
                }
            }
        } else if spare.is_some() {
            *standby = None;
        }
        let attached = self.networks.attach(configuration, None).await;
        attached.map_err(|error| match error.kind {
            Kind::Exists => self.holder_of_port(configuration).unwrap_or(error),
            _ => error,
        })
    }

    /// That a port of `configuration` is another container's, where it is: a network's process sees of those of other networks that a
    /// process like itself has them.
    fn holder_of_port(&self, configuration: &ContainerConfiguration) -> Option<Error> {
        let others = self.all();
        let others = others
            .iter()
            .filter(|other| other.is_active() && other.id != configuration.id);
        for other in others {
            let status = other.status.borrow();
            for held in &status.published_ports {
                let mut wanted = configuration.published_ports.iter();
                if let Some(port) = wanted.find_map(|port| publish::overlap(port, held)) {
                    let text = format!(
                        "port {port}/{} of the host is taken by container {}",
                        held.proto, other.id
                    );
                    return Some(Error::new(Kind::Exists, text));
                }
            }
        }
        None
    }
}
