//! What the apiserver finds when it starts: bundles at rest, and containers that went on running.

use std::sync::Arc;
use std::time::Duration;

use container_api::lock;
use container_api::runtime::StateRequest;
use container_resource::bundle::{self, Bundle};
use container_resource::container::{ContainerConfiguration, ContainerState, CreateOptions};
use jiff::Timestamp;
use rustix::process::Signal;

use super::bundles::{self, Found};
use super::follow::{recorded, remove_sockets};
use super::helper::Helper;
use super::{Containers, Entry};

/// How long a helper may take to say how its container is.
const STATE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often, and how long apart, a helper is asked that is in the middle of a boot.
const BOOTING: (u32, Duration) = (60, Duration::from_secs(1));

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
        let configuration: std::io::Result<ContainerConfiguration> =
            bundle::read_json(&bundle.configuration());
        let options: std::io::Result<CreateOptions> = bundle::read_json(&bundle.options());
        let (configuration, options, damage) = match (configuration, options) {
            (Ok(configuration), Ok(options)) if configuration.id == id => {
                (Some(configuration), options, None)
            }
            (Ok(configuration), Ok(options)) => (
                None,
                options,
                Some(format!(
                    "config.json is that of container {}",
                    configuration.id
                )),
            ),
            (Err(error), _) => (
                None,
                CreateOptions::default(),
                Some(format!("config.json: {error}")),
            ),
            (_, Err(error)) => (
                None,
                CreateOptions::default(),
                Some(format!("options.json: {error}")),
            ),
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
        if !self.adopt(&entry).await {
            self.at_rest(&entry);
        }
    }

    /// Takes over a container whose helper lives.
    async fn adopt(self: &Arc<Self>, entry: &Arc<Entry>) -> bool {
        if !matches!(lock::holder(&entry.bundle.lock()), Ok(Some(_))) {
            return false;
        }
        for _ in 0..BOOTING.0 {
            let Ok(helper) = Helper::connect(&entry.bundle) else {
                break;
            };
            let mut client = helper.client();
            let state = tokio::time::timeout(STATE_TIMEOUT, client.state(StateRequest {})).await;
            let Ok(Ok(state)) = state else { break };
            let state = state.into_inner();
            let shown = match state.state.as_str() {
                "running" => ContainerState::Running,
                "paused" => ContainerState::Paused,
                "stopping" => ContainerState::Stopping,
                // The client that asked for it is gone: the start is finished without its streams.
                "booting" => {
                    let mut client = helper.client();
                    let start = container_api::runtime::StartRequest { stdio: None };
                    if tokio::time::timeout(BOOTING.1, client.start(start))
                        .await
                        .is_err()
                    {
                        continue;
                    }
                    continue;
                }
                _ => break,
            };
            tracing::info!("container {} goes on {}", entry.id, state.state);
            entry.begin(helper.clone());
            entry.running(
                Timestamp::from_millisecond(state.started_ms).unwrap_or_else(|_| Timestamp::now()),
            );
            entry.show(shown);
            self.watch_health(entry, &helper);
            tokio::spawn(self.clone().follow(entry.clone(), helper));
            return true;
        }
        tracing::warn!(
            "container {}: its runtime helper does not answer and is ended",
            entry.id
        );
        let _ = lock::signal_holder(&entry.bundle.lock(), Signal::KILL);
        let _ = lock::released(&entry.bundle.lock()).await;
        false
    }

    fn at_rest(self: &Arc<Self>, entry: &Arc<Entry>) {
        // Sockets tell that it was started and that its helper did not end by itself.
        let was_running = entry.bundle.socket().exists();
        remove_sockets(entry);
        if was_running || entry.bundle.exit().exists() {
            entry.end(recorded(entry));
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
