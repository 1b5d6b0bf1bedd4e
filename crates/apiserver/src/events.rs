//! What happens to containers, told to whoever listens.

use std::collections::{BTreeMap, HashMap};

use container_api::api::Event;
use jiff::Timestamp;
use tokio::sync::broadcast;

/// Events that a slow listener may be behind before it misses some.
const BACKLOG: usize = 1024;

/// Events that a log would be full of.
const FREQUENT: [&str; 3] = ["exec", "health", "refuse"];

/// The stream of events.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
}

impl Events {
    /// A stream without listeners.
    pub fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(BACKLOG),
        }
    }

    /// Tells that `action` happened to the container `id`.
    pub fn tell(&self, action: &str, id: &str, attributes: HashMap<String, String>) {
        let sorted: BTreeMap<_, _> = attributes.iter().collect();
        if FREQUENT.contains(&action) {
            tracing::debug!(container = %id, "{action} {sorted:?}");
        } else {
            tracing::info!(container = %id, "{action} {sorted:?}");
        }
        // Nobody may listen.
        let _ = self.sender.send(Event {
            time_ms: Timestamp::now().as_millisecond(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes,
        });
    }

    /// Events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}
