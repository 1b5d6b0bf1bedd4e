//! The clock of a guest that has the host's files: what it writes there the host stamps with its own, and `make` in the guest compares both.

use std::time::Duration;

use container_api::guest::SetClockRequest;
use container_api::guest_channel::Guest;
use jiff::Timestamp;
use tokio::time::Instant;

/// Sets the clock once more, in the background. The start has set it to the time at which it was asked for, and has taken some time to
/// get there.
pub(super) fn adjust(guest: &Guest) {
    let mut calls = guest.calls();
    tokio::spawn(async move {
        let mut way = Duration::ZERO;
        // The second time it is known how long a request is on its way.
        for _ in 0..2 {
            let sent = Instant::now();
            let request = SetClockRequest {
                realtime_ns: after(Timestamp::now(), way),
            };
            if calls.set_clock(request).await.is_err() {
                // That the machine has ended is told elsewhere.
                return;
            }
            way = sent.elapsed() / 2;
        }
    });
}

/// Nanoseconds since the epoch.
fn after(time: Timestamp, way: Duration) -> u64 {
    let time = u64::try_from(time.as_nanosecond()).unwrap_or_default();
    let way = u64::try_from(way.as_nanos()).unwrap_or_default();
    time.saturating_add(way)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_on_its_way_for_long_tells_a_later_time() {
        let time = Timestamp::from_second(10).unwrap();
        assert_eq!(after(time, Duration::from_millis(3)), 10_003_000_000);
    }
}
