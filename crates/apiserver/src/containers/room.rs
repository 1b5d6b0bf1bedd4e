//! A container that stands still as the host does not take what it writes, as people are told of it.

use std::sync::Arc;

use container_api::runtime::RoomRequest;
use container_resource::event::{Action, Attribute};
use container_resource::standstill::Standstill;

use super::helper::Helper;
use super::{Containers, Entry};

impl Containers {
    /// Tells of each time that the machine of `entry` stands still or goes on, until its helper has ended.
    pub(super) async fn watch_room(self: Arc<Self>, entry: Arc<Entry>, helper: Helper) {
        let mut stands_still = false;
        loop {
            let request = RoomRequest { stands_still };
            let reply = helper.client().room(request).await;
            let Ok(reply) = reply else {
                // It has ended, or is one that does not tell.
                return;
            };
            let reply = reply.into_inner();
            stands_still = reply.stands_still;
            let why = stands_still.then(|| Standstill::of_word(&reply.why));
            let action = if let Some(why) = why {
                tracing::warn!(container = %entry.id, "{}", why.text());
                Action::Stall
            } else {
                tracing::info!(container = %entry.id, "what it writes is taken again: the container goes on");
                Action::Proceed
            };
            entry.stand_still(why);
            let reason = why.map(|why| (Attribute::Reason, why.word().to_owned()));
            self.events.tell(action, &entry.id, reason);
        }
    }
}
