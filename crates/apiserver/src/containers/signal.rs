//! `kill`, and the size of a terminal.

use container_api::{Error, runtime};
use container_resource::event::{Action, Attribute};
use rustix::process::Signal;

use super::Containers;

/// Signals that say that a container is not wanted any more: its restart policy is not to start it again.
const ENDS: [Signal; 2] = [Signal::KILL, Signal::TERM];

impl Containers {
    /// Sends `signal` to a process of the container `id`; an empty `process` is the first one.
    pub async fn signal(&self, id: &str, process: String, signal: i32) -> Result<(), Error> {
        let entry = self.get(id)?;
        entry.helper()?;
        if process.is_empty() && ENDS.map(Signal::as_raw).contains(&signal) {
            entry.stop_by_hand(true);
        }
        let request = runtime::SignalRequest { process, signal };
        entry
            .ask(|mut client| async move { client.signal(request).await })
            .await?;
        let attributes = [(Attribute::Signal, signal.to_string())];
        self.events.tell(Action::Kill, id, attributes);
        Ok(())
    }

    /// Gives the terminal of a process of the container `id` another size, in characters.
    /// An empty `process` is the first one.
    pub async fn resize(
        &self,
        id: &str,
        process: String,
        rows: u32,
        columns: u32,
    ) -> Result<(), Error> {
        let entry = self.get(id)?;
        let request = runtime::ResizeRequest {
            process,
            rows,
            columns,
        };
        entry
            .ask(|mut client| async move { client.resize(request).await })
            .await?;
        Ok(())
    }
}
