//! Reset: the guest is again as it was before Start.

use super::{Agent, AgentError};
use crate::container::{unmount_root, unmount_volumes};
use crate::network;

impl Agent {
    /// Ends the container and forgets it: its root is unmounted, its control group removed, its interfaces are new. A guest in
    /// which that fails must not be used any more.
    pub async fn reset(&self) -> Result<(), AgentError> {
        let container = self.container()?;
        self.end(&container).await;
        let (root, processes, interfaces) = {
            let mut state = self.state();
            state.container = None;
            (state.paused, state.standstills) = (false, 0);
            (
                state.root.take(),
                std::mem::take(&mut state.processes),
                std::mem::take(&mut state.interfaces),
            )
        };
        // Both unmount what they hold.
        drop((root, processes));
        network::renew(&interfaces)?;
        unmount_volumes().map_err(AgentError::Unmount)?;
        unmount_root().map_err(AgentError::Unmount)?;
        container.cgroup.remove().map_err(AgentError::Cgroup)?;
        let mut state = self.state();
        (state.started, state.has_upper_disk) = (false, false);
        Ok(())
    }
}
