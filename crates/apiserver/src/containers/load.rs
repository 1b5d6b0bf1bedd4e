//! What the apiserver finds when it starts: bundles at rest, and containers that went on running.

use std::sync::Arc;
use std::time::Duration;

use container_api::lock;
use container_api::runtime::{StateReply, StateRequest};
use container_resource::bundle::{self, Boot, Bundle};
use container_resource::container::{
    ContainerConfiguration, ContainerState, ContainerStatus, CreateOptions,
};
use jiff::Timestamp;
use rustix::process::Signal;

use super::bundles::{self, Found};
use super::follow::{recorded, remove_sockets};
use super::helper::Helper;
use super::{Containers, Entry};

/// How long a helper may take to say how its container is.
const STATE_TIMEOUT: Duration = Duration::from_secs(2);

impl Containers {
    /// Reads every bundle and takes over the containers that run.
    pub async fn load(self: &Arc<Self>) -> std::io::Result<()> {
        let mut adoptions = Vec::new();
        for found in bundles::scan(&self.roots)? {
            match found {
                Found::Bundle(id, bundle) => adoptions.push(self.load_bundle(id, bundle)),
                Found::Remains(path) => {
                    let lock = Bundle::new(&path).lock();
                    let _ = lock::signal_holder(&lock, Signal::KILL);
                    if let Err(error) = lock::released(&lock)
                        .await
                        .and_then(|()| bundles::remove(&path))
                    {
                        tracing::warn!("cannot remove {}: {error}", path.display());
                    }
                }
            }
        }
        futures::future::join_all(adoptions).await;
        for entry in self.all() {
            if !entry.is_active() {
                self.resume(&entry);
            }
        }
        Ok(())
    }

    async fn load_bundle(self: &Arc<Self>, id: String, bundle: Bundle) {
        let (configuration, options, damage) = match self.read(&id, &bundle) {
            Ok((configuration, options)) => (Some(configuration), options, None),
            Err(damage) => (None, CreateOptions::default(), Some(damage)),
        };
        let entry = Arc::new(Entry::new(id, bundle, configuration, options));
        if self.reserve(entry.clone()).is_err() {
            return;
        }
        if let Some(damage) = damage {
            tracing::warn!("container {} is damaged: {damage}", entry.id);
            entry.status.send_modify(|status| {
                status.state = ContainerState::Unknown;
                status.reason = Some(damage);
            });
            return;
        }
        // Without it the next start tells why not; until then there is nothing to count.
        if let Ok(boot) = bundle::read_json::<Boot>(&entry.bundle.boot()) {
            let restarts = |status: &mut ContainerStatus| status.restart_count = boot.restarts;
            entry.status.send_modify(restarts);
        }
        if !self.adopt(&entry).await {
            self.at_rest(&entry).await;
        }
    }

    /// What the bundle of `id` holds, or why it is damaged.
    fn read(
        &self,
        id: &str,
        bundle: &Bundle,
    ) -> Result<(ContainerConfiguration, CreateOptions), String> {
        let mut configuration: ContainerConfiguration = bundle::read_json(&bundle.configuration())
            .map_err(|error| format!("config.json: {error}"))?;
        let options = bundle::read_json(&bundle.options())
            .map_err(|error| format!("options.json: {error}"))?;
        if configuration.id != id {
            if self.roots.containers().join(&configuration.id).exists() {
                return Err(format!(
                    "config.json is that of container {}",
                    configuration.id
                ));
            }
            // A rename that was cut off after its first half.
            id.clone_into(&mut configuration.id);
            bundle::write_json(&bundle.configuration(), &configuration)
                .map_err(|error| format!("config.json: {error}"))?;
        }
        Ok((configuration, options))
    }

    /// Takes over a container whose helper lives.
    async fn adopt(self: &Arc<Self>, entry: &Arc<Entry>) -> bool {
        if !matches!(lock::holder(&entry.bundle.lock()), Ok(Some(_))) {
            return false;
        }
        let Some((helper, state)) = ask(entry).await else {
            tracing::warn!(
                "container {}: its runtime helper does not answer and is ended",
                entry.id
            );
            return false;
        };
        let shown = match state.state.as_str() {
            "running" => ContainerState::Running,
            "paused" => ContainerState::Paused,
            "stopping" => {
                // Whoever asked for it has asked the apiserver before this one.
                entry.stop_by_hand(true);
                ContainerState::Stopping
            }
            "booting" => {
                self.finish_start(entry, helper);
                return true;
            }
            _ => return false,
        };
        tracing::info!("container {} goes on {}", entry.id, state.state);
        entry.begin(helper.clone());
        entry.running(
            Timestamp::from_millisecond(state.started_ms).unwrap_or_else(|_| Timestamp::now()),
        );
        entry.show(shown);
        self.watch_health(entry, &helper);
        tokio::spawn(self.clone().follow(entry.clone(), helper));
        true
    }

    /// The client that asked for the start is gone: it is finished without that client's streams, and nobody
    /// waits for it.
    fn finish_start(self: &Arc<Self>, entry: &Arc<Entry>, helper: Helper) {
        entry.begin(helper.clone());
        let (containers, entry) = (self.clone(), entry.clone());
        tokio::spawn(async move {
            let _operation = entry.operation.lock().await;
            if let Err(error) = containers.first_process(&entry, helper, None).await {
                tracing::warn!("container {} does not start: {error}", entry.id);
            }
        });
    }

    async fn at_rest(self: &Arc<Self>, entry: &Arc<Entry>) {
        // Sockets tell that it was started and that its helper did not end by itself.
        let was_running = entry.bundle.socket().exists();
        remove_sockets(entry);
        // One that has not come to its lock yet misses its sockets then, and ends by itself.
        let _ = lock::signal_holder(&entry.bundle.lock(), Signal::KILL);
        let _ = lock::released(&entry.bundle.lock()).await;
        if let Err(error) = bundles::sweep(&entry.bundle) {
            tracing::warn!("container {}: cannot tidy its bundle: {error}", entry.id);
        }
        if was_running || entry.bundle.exit().exists() {
            entry.end(recorded(entry), ContainerState::Stopped);
        }
        if entry.options.auto_remove && (was_running || entry.bundle.exit().exists()) {
            self.release(entry);
            let removed = bundles::detach(&self.roots, &entry.bundle)
                .and_then(|trash| bundles::remove(&trash));
            if let Err(error) = removed {
                tracing::warn!("cannot remove container {}: {error}", entry.id);
            }
        }
    }
}

/// How the container is, as its helper says.
async fn ask(entry: &Entry) -> Option<(Helper, StateReply)> {
    let helper = Helper::connect(&entry.bundle).ok()?;
    let mut client = helper.client();
    let state = tokio::time::timeout(STATE_TIMEOUT, client.state(StateRequest {})).await;
    Some((helper, state.ok()?.ok()?.into_inner()))
}
