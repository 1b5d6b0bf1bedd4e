//! Figures for Prometheus: what is there, and what has happened since this process began.

mod server;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_resource::container::ContainerState;
use container_resource::event::{Attribute, Event};
use futures::future::join_all;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::broadcast::error::RecvError;

use crate::containers::Containers;
use crate::images::Images;

pub use server::serve;

/// How long a container may take to say what it uses; its figures are left out then.
const PATIENCE: Duration = Duration::from_secs(2);
/// Upper bounds of the buckets of start times, in seconds: from a machine that waits to a cold boot under an emulator.
const START_BUCKETS: [f64; 9] = [0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0, 15.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    machine: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Action {
    action: String,
}

/// All figures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    containers: Family<Of, Gauge>,
    memory: Family<Named, Gauge>,
    guest_memory: Family<Named, Gauge>,
    starts: Family<By, Histogram>,
    events: Family<Action, Counter>,
    failed_starts: Gauge,
    helper_failures: Gauge,
}

impl Metrics {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("container");
        let containers = Family::default();
        registry.register(
            "containers",
            "Containers by their state",
            containers.clone(),
        );
        let memory = Family::default();
        registry.register_with_unit(
            "host_memory",
            "Memory of the host that a container's machine takes",
            Unit::Bytes,
            memory.clone(),
        );
        let guest_memory = Family::default();
        registry.register_with_unit(
            "guest_memory",
            "Memory that a container's processes take in its guest",
            Unit::Bytes,
            guest_memory.clone(),
        );
        let starts = Family::new_with_constructor(start_times as fn() -> Histogram);
        registry.register_with_unit(
            "start",
            "Time of a start, by where its machine came from: standby, template or cold",
            Unit::Seconds,
            starts.clone(),
        );
        let events = Family::default();
        registry.register("events", "What has happened to containers", events.clone());
        let failed_starts = Gauge::default();
        registry.register(
            "failed_starts",
            "Starts that failed since the service began",
            failed_starts.clone(),
        );
        let helper_failures = Gauge::default();
        registry.register(
            "image_service_failures",
            "How often the image service has ended in a row, when it should not have",
            helper_failures.clone(),
        );
        Self {
            registry,
            containers,
            memory,
            guest_memory,
            starts,
            events,
            failed_starts,
            helper_failures,
        }
    }

    /// Counts what happens, as long as containers are served.
    pub async fn count(self: Arc<Self>, containers: Arc<Containers>) {
        let mut events = containers.events.listen();
        loop {
            match events.recv().await {
                Ok(event) => self.note(&event),
                // Some are missing from the counts then, which is better than to hold up who tells of them.
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!("{missed} events were not counted");
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn note(&self, event: &Event) {
        let action = event.action.word().to_owned();
        self.events.get_or_create(&Action { action }).inc();
        let took = event.attribute(Attribute::Milliseconds);
        let took = took.and_then(|text| text.parse::<u32>().ok());
        if let (Some(machine), Some(took)) = (event.attribute(Attribute::Machine), took) {
            let machine = machine.to_owned();
            let starts = self.starts.get_or_create(&By { machine });
            starts.observe(f64::from(took) / 1000.0);
        }
    }

    /// The figures as they are now, in the text format of `OpenMetrics` 1.0.
    pub async fn render(&self, containers: &Containers, images: &Images) -> String {
        self.containers.clear();
        let mut running = Vec::new();
        for container in containers.list(&[]) {
            let state = container.status.state;
            if state == ContainerState::Running {
                running.push(container.id);
            }
            let state = state.word().to_owned();
            self.containers.get_or_create(&Of { state }).inc();
        }
        self.memory.clear();
        self.guest_memory.clear();
        let samples = running.into_iter().map(|id| async move {
            let sample = tokio::time::timeout(PATIENCE, containers.statistics(&id)).await;
            (id, sample)
        });
        for (id, sample) in join_all(samples).await {
            let Ok(Ok(sample)) = sample else {
                continue;
            };
            let id = Named { id };
            for (figures, bytes) in [
                (&self.memory, sample.host_memory_bytes),
                (&self.guest_memory, sample.memory_usage_bytes),
            ] {
                if let Some(bytes) = bytes.and_then(|bytes| i64::try_from(bytes).ok()) {
                    figures.get_or_create(&id).set(bytes);
                }
            }
        }
        let failed = containers.failed_starts.load(Ordering::Relaxed);
        self.failed_starts.set(i64::from(failed));
        let failures = images.trouble().map_or(0, |trouble| trouble.failures);
        self.helper_failures.set(i64::from(failures));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

fn start_times() -> Histogram {
    Histogram::new(START_BUCKETS)
}

#[cfg(test)]
mod tests {
    use container_resource::event;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn starts_are_counted_by_where_their_machine_came_from() {
        let metrics = Metrics::new();
        let told = |action, attributes: &[(Attribute, &str)]| Event {
            time: Timestamp::UNIX_EPOCH,
            action,
            id: "web".into(),
            attributes: attributes
                .iter()
                .map(|(attribute, text)| (attribute.word().to_owned(), (*text).to_owned()))
                .collect(),
        };
        metrics.note(&told(
            event::Action::Start,
            &[
                (Attribute::Machine, "standby"),
                (Attribute::Milliseconds, "70"),
            ],
        ));
        metrics.note(&told(
            event::Action::Start,
            &[
                (Attribute::Machine, "cold"),
                (Attribute::Milliseconds, "1400"),
            ],
        ));
        metrics.note(&told(event::Action::Die, &[(Attribute::ExitCode, "0")]));
        let mut text = String::new();
        text::encode(&mut text, &metrics.registry).unwrap();
        for line in [
            "container_events_total{action=\"start\"} 2",
            "container_events_total{action=\"die\"} 1",
            "container_start_seconds_bucket{le=\"0.1\",machine=\"standby\"} 1",
            "container_start_seconds_bucket{le=\"1.0\",machine=\"cold\"} 0",
            "container_start_seconds_sum{machine=\"cold\"} 1.4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
