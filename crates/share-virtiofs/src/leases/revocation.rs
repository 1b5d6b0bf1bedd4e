//! The thread that ends leases when the host changes something.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::Timespec;

use super::events::{Events, Foreign};
use super::page::Page;

/// Between two looks at events: what the guest does itself makes some, too.
const PAUSE: Duration = Duration::from_millis(20);
/// Shortest time that a lease holds: under a host that writes all the time names are valid for some time, as without leases.
const SHORTEST: Duration = Duration::from_millis(400);
/// Longest time, as nobody is told of three things: names that a file was given elsewhere, the new time of what is written by a mapping that lasts, and
/// what an overlay writes to its upper directory.
const LONGEST: Duration = Duration::from_secs(10);

/// Ends the leases of `page` by `events`, as long as this process lives.
pub fn start(events: Events, page: Arc<Page>) -> io::Result<()> {
    let thread = thread::Builder::new().name("leases".to_owned());
    thread.spawn(move || {
        // Nobody ever sends: a wait with a limit, as a call of its own for that is not on the list.
        let (_sender, sleep) = channel::<()>();
        let mut last = Instant::now();
        loop {
            let rest = LONGEST.saturating_sub(last.elapsed());
            let has_events = matches!(events.wait(Some(&timespec(rest))), Ok(true));
            let happened = happened(has_events, || events.foreign(), last.elapsed());
            if happened != Foreign::None {
                page.revoke_data();
            }
            if happened == Foreign::Changed {
                let rest = SHORTEST.saturating_sub(last.elapsed());
                let _ = sleep.recv_timeout(rest);
                page.revoke();
                last = Instant::now();
            }
            let _ = sleep.recv_timeout(PAUSE);
        }
    })?;
    Ok(())
}

/// What ends leases that were `held` so long, after the wait for an event. The guest's own events are looked at, so that the next one is waited for,
/// and put nothing off.
fn happened(
    has_events: bool,
    foreign: impl FnOnce() -> io::Result<Foreign>,
    held: Duration,
) -> Foreign {
    let seen = if has_events {
        foreign().unwrap_or(Foreign::Changed)
    } else {
        Foreign::Changed
    };
    if held >= LONGEST {
        Foreign::Changed
    } else {
        seen
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_writes_all_the_time_does_not_make_leases_longer() {
        let soon = Duration::from_secs(9);
        let own = || Ok(Foreign::None);
        assert_eq!(happened(true, own, soon), Foreign::None);
        assert_eq!(happened(true, own, LONGEST), Foreign::Changed);
        let opened = || Ok(Foreign::Opened);
        assert_eq!(happened(true, opened, soon), Foreign::Opened);
        let failed = || Err(io::ErrorKind::Other.into());
        assert_eq!(happened(true, failed, soon), Foreign::Changed);
        assert_eq!(happened(false, own, LONGEST), Foreign::Changed);
    }
}
