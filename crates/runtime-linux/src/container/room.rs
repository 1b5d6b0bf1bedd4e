//! A host that does not take what the container writes: its machine stands still until it does.

use std::time::Duration;

use container_api::{Error, Kind};
use container_resource::standstill::Standstill;
use tokio::time::Instant;

use super::Container;
use crate::limits::limit;

/// How long whoever wants something of the guest waits for room, before that is told instead.
const PATIENCE: Duration = limit(2);

/// A machine that stands still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stalled {
    pub(crate) since: Instant,
    pub(crate) why: Standstill,
}

impl Container {
    /// Why its machine stands still, if it does as the host does not take what it writes.
    pub fn standstill(&self) -> Option<Standstill> {
        self.stalled.borrow().map(|stalled| stalled.why)
    }

    /// Whether it does.
    pub fn waits_for_room(&self) -> bool {
        self.standstill().is_some()
    }

    /// Waits until [`Self::waits_for_room`] is not `known` any more; gives why it stands still then, if it does.
    pub async fn room_changed(&self, known: bool) -> Option<Standstill> {
        let mut stalled = self.stalled.subscribe();
        let changed = stalled.wait_for(|now| now.is_some() != known).await;
        // The sender lives as long as `self`, so there is no error.
        changed
            .ok()
            .and_then(|now| (*now).map(|stalled| stalled.why))
    }

    /// Waits until its machine has stood still for longer than anybody who wants something of its guest should wait.
    pub(crate) async fn starved(&self) -> Error {
        let mut stalled = self.stalled.subscribe();
        loop {
            let now = *stalled.borrow_and_update();
            let changed = stalled.changed();
            match now {
                None => drop(changed.await),
                Some(Stalled { since, why }) => {
                    let patience = tokio::time::timeout_at(since + PATIENCE, changed);
                    if patience.await.is_err() {
                        return Error::new(Kind::Exhausted, why.text()).with_hint(why.hint());
                    }
                }
            }
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
