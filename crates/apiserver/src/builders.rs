//! Builders that nobody uses are stopped, and give their memory back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use container_api::lock;
use container_api::roots::Roots;
use container_resource::builder;
use container_resource::container::ContainerState;

use crate::containers::Containers;

/// How often it is looked at the most: nobody tells of the end of a client.
const LOOK: Duration = Duration::from_secs(15);
/// And at the least.
const LEAST: Duration = Duration::from_millis(500);

/// Stops builders that no client has had to do with for `idle`. A client shares the builder's lock as long as it has.
pub async fn stop_idle(containers: Arc<Containers>, roots: Roots, idle: Duration) {
    let mut since: HashMap<String, Instant> = HashMap::new();
    let pause = (idle / 4).clamp(LEAST, LOOK);
    loop {
        tokio::time::sleep(pause).await;
        let mut still = HashMap::new();
        for entry in containers.all() {
            let is_builder = entry
                .readable()
                .is_some_and(|configuration| builder::is_builder_by(&configuration));
            if !is_builder || entry.status.borrow().state != ContainerState::Running {
                continue;
            }
            // Held while it is stopped: a client that comes then waits, and starts it again.
            let Ok(_unused) = lock::acquire(&roots.builder_lock(&entry.id)) else {
                continue;
            };
            let from = since.get(&entry.id).copied();
            let from = from.unwrap_or_else(Instant::now);
            if from.elapsed() < idle {
                still.insert(entry.id.clone(), from);
                continue;
            }
            tracing::info!("builder {} is stopped: nobody uses it", entry.id);
            if let Err(error) = containers.stop(&entry.id, None, None).await {
                tracing::warn!("builder {} is not stopped: {error:#}", entry.id);
            }
        }
        since = still;
    }
}
