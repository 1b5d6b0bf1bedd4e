//! The thread that ends leases when the host changes something.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::Timespec;

use super::events::Events;
use super::page::Page;

/// Between two looks at events: what the guest does itself makes some, too.
const PAUSE: Duration = Duration::from_millis(20);
/// Shortest time that a lease holds: under a host that writes all the time names are valid for some time, as without leases.
const SHORTEST: Duration = Duration::from_millis(400);
/// Longest time: two things the host is not told of, names that a file was given elsewhere, and what was written by a mapping that lasts.
const LONGEST: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// Ends the leases of `page` by `events`, as long as this process lives.
pub fn start(events: Events, page: Arc<Page>) -> io::Result<()> {
    let thread = thread::Builder::new().name("leases".to_owned());
    thread.spawn(move || {
        // Nobody ever sends: a wait with a limit, as a call of its own for that is not on the list.
        let (_sender, sleep) = channel::<()>();
        let mut last = Instant::now();
        loop {
            let is_over = match events.wait(Some(&LONGEST)) {
                Ok(true) => events.are_foreign().unwrap_or(true),
                Ok(false) | Err(_) => true,
            };
            if is_over {
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
