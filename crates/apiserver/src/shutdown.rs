//! The end of the whole system, in order.

use std::sync::Arc;
use std::time::Duration;

use container_api::{Error, Kind};
use tokio::sync::Notify;

use crate::auxiliary::Auxiliary;
use crate::containers::Containers;
use crate::images::Images;
use crate::networks::Networks;
use crate::templates::Templates;

/// What ends with the system.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// First those who may have to do with all the rest.
    pub auxiliary: Auxiliary,
    /// Then the machine that waits: its network stays as long as somebody has its tap.
    pub templates: Templates,
    /// Then the containers, all at once.
    pub containers: Arc<Containers>,
    /// Then their networks.
    pub networks: Arc<Networks>,
    /// And then who has their images.
    pub images: Images,
    /// Rung at the end, whatever went wrong.
    pub stop: Arc<Notify>,
}

impl Shutdown {
    /// Ends the system; each container has `grace` to end by itself.
    ///
    /// # Errors
    /// What could not be ended. The rest is.
    pub async fn run(&self, grace: Duration) -> Result<(), Error> {
        self.auxiliary.stop().await;
        self.templates.stand_down().await;
        let mut errors: Vec<String> = self
            .containers
            .stop_all(grace)
            .await
            .into_iter()
            .map(|error| error.message())
            .collect();
        self.networks.settled().await;
        errors.extend(self.networks.stop().await);
        if let Err(error) = self.images.stop().await {
            errors.push(format!("stop container-core-images: {error:#}"));
        }
        self.containers.cleared().await;
        self.stop.notify_one();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Error::new(Kind::Internal, errors.join("; ")))
        }
    }
}
