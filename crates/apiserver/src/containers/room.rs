//! A container that stands still as the host has no room for what it writes, as people are told of it.

use std::sync::Arc;

use container_api::runtime::RoomRequest;
use container_resource::container::OUT_OF_ROOM;
use container_resource::event::Action;

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
            stands_still = reply.into_inner().stands_still;
            let action = if stands_still {
                tracing::warn!(container = %entry.id, "{OUT_OF_ROOM}");
                Action::Stall
            } else {
                tracing::info!(container = %entry.id, "there is room again: the container goes on");
                Action::Proceed
            };
            entry.stand_still(stands_still);
            self.events.tell(action, &entry.id, []);
        }
    }
}
