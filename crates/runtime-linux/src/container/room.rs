//! A host that has no room for what the container writes: its machine stands still until there is some.

use std::time::Duration;

use container_api::guest::SetClockRequest;
use container_api::{Error, Kind};
use container_resource::container::OUT_OF_ROOM;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Container;
use crate::limits::limit;

/// How long whoever wants something of the guest waits for room, before that is told instead.
const PATIENCE: Duration = limit(2);

impl Container {
    /// Whether its machine stands still as the host has no room for what it writes.
    pub fn waits_for_room(&self) -> bool {
        self.stalled.borrow().is_some()
    }

    /// Waits until [`Self::waits_for_room`] is not `known` any more; gives what it is then.
    pub async fn room_changed(&self, known: bool) -> bool {
        let mut stalled = self.stalled.subscribe();
        let changed = stalled.wait_for(|since| since.is_some() != known).await;
        // The sender lives as long as `self`, so there is no error.
        changed.map_or(known, |since| since.is_some())
    }

    /// Waits until its machine has stood still for longer than anybody who wants something of its guest should wait.
    pub(crate) async fn starved(&self) -> Error {
        let mut stalled = self.stalled.subscribe();
        loop {
            let since = *stalled.borrow_and_update();
            let changed = stalled.changed();
            match since {
                None => drop(changed.await),
                Some(since) => {
                    let patience = tokio::time::timeout_at(since + PATIENCE, changed);
                    if patience.await.is_err() {
                        return Error::new(Kind::Exhausted, OUT_OF_ROOM).with_hint(
                            "Free space on the host: `container system df` shows what takes it.",
                        );
                    }
                }
            }
        }
    }

    /// Gives the guest the time, which it has lost by standing still.
    pub(crate) async fn set_clock(&self) {
        let Ok(guest) = self.guest() else { return };
        let now = Timestamp::now().as_nanosecond();
        let request = SetClockRequest {
            realtime_ns: u64::try_from(now).unwrap_or_default(),
        };
        if let Err(error) = self.ask(guest.calls().set_clock(request)).await {
            tracing::warn!("the guest's clock is late: {error:#}");
        }
    }

    /// Sleeps for `duration`, in which moments at which the machine stands still do not count.
    pub(crate) async fn sleep_of_machine(&self, mut duration: Duration) {
        let mut stalled = self.stalled.subscribe();
        loop {
            // The sender lives as long as `self`, so there is no error.
            let _ = stalled.wait_for(Option::is_none).await;
            let begun = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(duration) => return,
                _ = stalled.wait_for(Option::is_some) => {}
            }
            duration = duration.saturating_sub(begun.elapsed());
        }
    }
}
