//! The machine of a container of which nothing runs: it is there for as long as somebody works on the container's files.

use std::sync::Weak;
use std::time::Duration;

use container_api::guest::SignalRequest;

use crate::container::Container;

/// How long a machine is kept for a container's files while nobody does anything with them. Whoever asked for it ends it earlier.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Ends a machine that is there for the container's files alone, when nobody works on them any more.
pub(super) async fn end_unused(container: Weak<Container>) {
    loop {
        let Some(container) = container.upgrade() else {
            return;
        };
        let was_busy = container.is_busy();
        let guest = container.guest();
        let name = container.configuration.id.clone();
        drop(container);
        tokio::time::sleep(IDLE_LIMIT).await;
        let Ok(guest) = guest else { return };
        if !was_busy {
            let request = SignalRequest {
                process: name,
                signal: libc::SIGKILL,
                all: false,
            };
            // It may be on its way out already.
            let _ = guest.calls().signal(request).await;
        }
    }
}
