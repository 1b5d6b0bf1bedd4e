//! `pause` and `unpause`.

use std::collections::HashMap;

use container_api::{Error, runtime};
use container_resource::container::ContainerState;

use super::Containers;

impl Containers {
    /// Freezes the processes of the container `id`, or lets them go on.
    pub async fn pause(&self, id: &str, paused: bool) -> Result<(), Error> {
        let entry = self.get(id)?;
        let request = runtime::PauseRequest { paused };
        entry
            .ask(|mut client| async move { client.pause(request).await })
            .await?;
        let (state, event) = if paused {
            (ContainerState::Paused, "pause")
        } else {
            (ContainerState::Running, "unpause")
        };
        entry.show(state);
        self.events.tell(event, id, HashMap::new());
        Ok(())
    }
}
