//! What happens to containers, told to whoever listens.

use container_resource::event::{Action, Attribute, Event};
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
    pub fn tell(
        &self,
        action: Action,
        id: &str,
        attributes: impl IntoIterator<Item = (Attribute, String)>,
    ) {
        let attributes = attributes.into_iter();
        let event = Event {
            time: Timestamp::now(),
            action,
            id: id.to_owned(),
            attributes: attributes
                .map(|(attribute, value)| (attribute.word().to_owned(), value))
                .collect(),
        };
        if action.is_frequent() {
            tracing::debug!(container = %id, "{action} {:?}", event.attributes);
        } else {
            tracing::info!(container = %id, "{action} {:?}", event.attributes);
        }
        // Nobody may listen.
        let _ = self.sender.send(event);
    }

    /// Events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}
