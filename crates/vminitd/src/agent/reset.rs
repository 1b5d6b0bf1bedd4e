//! Reset: the guest is again as it was before Start.

use super::{Agent, AgentError};
use crate::container::{unmount_root, unmount_volumes};

impl Agent {
    /// Ends the container and forgets it: its root is unmounted, its control group removed. A guest in which that fails
    /// must not be used any more.
    pub async fn reset(&self) -> Result<(), AgentError> {
        let container = self.container()?;
        self.end(&container).await;
        let (root, processes) = {
            let mut state = self.state();
            state.container = None;
            (state.paused, state.standstills) = (false, 0);
            (state.root.take(), std::mem::take(&mut state.processes))
        };
        // Both unmount what they hold.
        drop((root, processes));
        unmount_volumes().map_err(AgentError::Unmount)?;
        unmount_root().map_err(AgentError::Unmount)?;
        container.cgroup.remove().map_err(AgentError::Cgroup)?;
        let mut state = self.state();
        (state.started, state.has_upper_disk) = (false, false);
        Ok(())
    }
}
