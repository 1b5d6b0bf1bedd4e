//! What happens to containers, told to whoever listens.

use std::collections::HashMap;

use container_api::api::Event;
use jiff::Timestamp;
use tokio::sync::broadcast;

/// Events that a slow listener may be behind before it misses some.
const BACKLOG: usize = 1024;

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
