//! A machine whose writes the host does not take: it is let go on when it does.

use std::sync::Arc;
use std::time::Duration;

use container_engine::{Refusal, Stalls};
use container_resource::standstill::Standstill;
use tokio::time::Instant;

use crate::container::{Container, Stalled};
use crate::limits::limit;
use crate::machine::Room;

/// How often the host is asked what is free, which no event tells. It is asked only while a machine stands still.
const TICK: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 250 });
/// Bytes more than at the stall with which it is tried again at once.
const ROOM: u64 = 1 << 20;
/// After which time it is tried in any case, as a quota, or a file system that is thin itself, is not seen in what is free. The
/// time doubles up to the second one.
const PAUSES: [Duration; 2] = [limit(1), limit(8)];
/// For how long the machine must run to be seen as one that goes on.
const STEADY: Duration = limit(1);

/// Lets the machine of `container` go on after each of its `stalls`, as soon as there is room; returns when the machine has ended.
pub(super) async fn keep(container: Arc<Container>, mut stalls: Stalls, room: Option<Room>) {
    let id = &container.configuration.id;
    while let Ok(refusal) = stalls.next().await {
        let since = Instant::now();
        let stands_still = |refusal| {
            let why = why(refusal);
            tracing::warn!("container {id}: {}", why.text());
            container.stalled.send_replace(Some(Stalled { since, why }));
        };
        stands_still(refusal);
        let mut pause = PAUSES[0];
        loop {
            freed(room.as_ref(), pause).await;
            if let Err(error) = stalls.retry().await {
                tracing::warn!("container {id}: it cannot be let go on: {error:#}");
            }
            match tokio::time::timeout(STEADY, stalls.next()).await {
                Ok(Ok(again)) => {
                    // The same reason is not told each time.
                    if container.standstill() != Some(why(again)) {
                        stands_still(again);
                    }
                    pause = PAUSES[1].min(pause * 2);
                }
                Ok(Err(_)) => return,
                Err(_) => break,
            }
        }
        tracing::info!("container {id}: what it writes is taken, it goes on");
        container.stalled.send_replace(None);
    }
}

/// What users are told of it.
fn why(refusal: Refusal) -> Standstill {
    match refusal {
        Refusal::Full => Standstill::Full,
        Refusal::Quota => Standstill::Quota,
        Refusal::FileSize => Standstill::FileSize,
        Refusal::ReadOnly => Standstill::ReadOnly,
        Refusal::Failed => Standstill::Failed,
    }
}

/// Waits until more is free than now, for at most `pause`.
async fn freed(room: Option<&Room>, pause: Duration) {
    let free = || room.map(Room::free).unwrap_or_default();
    let before = free();
    let more = async {
        loop {
            tokio::time::sleep(TICK).await;
            let is_more = |(now, before): (u64, &u64)| now >= before.saturating_add(ROOM);
            if free().into_iter().zip(&before).any(is_more) {
                return;
            }
        }
    };
    // It is tried whether there is more or not.
    let _ = tokio::time::timeout(pause, more).await;
}
