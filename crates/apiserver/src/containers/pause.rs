//! `pause` and `unpause`.

use container_api::{Error, runtime};
use container_resource::container::ContainerState;
use container_resource::event::Action;

use super::Containers;

impl Containers {
    /// Freezes the processes of the container `id`, or lets them go on.
    pub async fn pause(&self, id: &str, paused: bool) -> Result<(), Error> {
        let entry = self.get(id)?;
        let request = runtime::PauseRequest { paused };
        entry
            .ask(|mut client| async move { client.pause(request).await })
            .await?;
        let (state, action) = if paused {
            (ContainerState::Paused, Action::Pause)
        } else {
            (ContainerState::Running, Action::Unpause)
        };
        entry.show(state);
        self.events.tell(action, id, []);
        Ok(())
    }
}
