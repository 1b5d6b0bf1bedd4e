//! The guest's clock, kept with the host's.
//!
//! A guest gets the time with its request to start, and is told it tens of milliseconds late under an emulator: what a restored machine
//! does first is translated first. Later it drifts, as the frequency of its counter was measured for a moment only, and it misses the time
//! in which the host is suspended. So it is asked for its time, and told by how much that is wrong, which is the same however long it
//! takes to say. The asking is bounded as in RFC 5905: of several answers the one that came fastest counts.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use container_api::guest::ClockRequest;
use container_api::guest_channel::Guest;
use jiff::Timestamp;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::container::Container;
use crate::limits::limit;

/// How long the container's first process is left alone.
const AT_FIRST: Duration = Duration::from_millis(100);
/// Between two looks: those of Apple's tool.
const PERIOD: Duration = limit(30);
/// Before the look after one that was not exact. It doubles up to [`PERIOD`].
const AGAIN: Duration = limit(1);
/// How long an answer is waited for. One that takes longer says nothing.
const PATIENCE: Duration = limit(2);
/// How many answers there are in one look at most.
const ANSWERS: usize = 5;
/// With an answer that is good to this nothing better is looked for.
const GOOD: Duration = Duration::from_millis(1);
/// What a look must be good to.
const EXACT: Duration = Duration::from_millis(2);
/// Differences that are left as they are.
const SMALL: i128 = 500_000;
/// Nanoseconds from which on a clock that is late is set, and not only runs faster for a while.
const LATE: i128 = 10_000_000;
/// Nanoseconds from which on a clock that is early is set back. Programs see time go backwards then.
const EARLY: i128 = 1_000_000_000;

/// What is known of the guest's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// By how many nanoseconds it is early.
    early: i128,
    /// By how much more or less that may be.
    uncertainty: Duration,
}

/// Keeps the clock of `guest` right, until this is dropped. What it writes to a share the host stamps with its own clock, and `make` in the
/// guest compares both: so one with `shares` is not left alone at first.
pub(super) async fn keep(container: Arc<Container>, guest: Guest, shares: bool) {
    let id = &container.configuration.id;
    let changes = Changes::new();
    if let Err(error) = &changes {
        tracing::debug!("container {id}: changes of the host's clock are not seen: {error}");
    }
    let mut changes = changes.ok();
    let mut stalled = container.stalled.subscribe();
    if !shares {
        tokio::time::sleep(AT_FIRST).await;
    }
    let mut sets = true;
    let mut pause = AGAIN;
    loop {
        // The sender lives as long as the container. A guest that stands still answers nothing.
        let _ = stalled.wait_for(Option::is_none).await;
        let known = look(&guest, sets).await;
        let exact = known.is_some_and(|uncertainty| uncertainty <= EXACT);
        pause = if exact { PERIOD } else { PERIOD.min(pause * 2) };
        sets = false;
        let changed = async {
            match &mut changes {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changed => pause = AGAIN,
            _ = stalled.wait_for(Option::is_some) => pause = AGAIN,
        }
    }
}

/// Asks for the guest's time and corrects it; gives how exactly that is known.
async fn look(guest: &Guest, sets: bool) -> Option<Duration> {
    let mut best: Option<Reading> = None;
    for _ in 0..ANSWERS {
        let reading = ask(guest).await?;
        if best.is_none_or(|best| reading.uncertainty < best.uncertainty) {
            best = Some(reading);
        }
        if reading.uncertainty <= GOOD {
            break;
        }
    }
    let best = best?;
    if let Some(request) = correction(best, sets) {
        tracing::debug!(
            "the guest's clock is {} us early, or up to {} us more or less",
            best.early / 1000,
            best.uncertainty.as_micros()
        );
        let told = tokio::time::timeout(PATIENCE, guest.calls().clock(request)).await;
        told.ok()?.ok()?;
    }
    Some(best.uncertainty)
}

async fn ask(guest: &Guest) -> Option<Reading> {
    let (time, begun) = (Timestamp::now().as_nanosecond(), Instant::now());
    let asked = tokio::time::timeout(PATIENCE, guest.calls().clock(ClockRequest::default())).await;
    let answer = asked.ok()?.ok()?;
    Some(reading(
        time,
        begun.elapsed(),
        answer.into_inner().realtime_ns,
    ))
}

/// What follows from an answer `guest` to a question that was asked at `time`, and answered within `took`.
fn reading(time: i128, took: Duration, guest: u64) -> Reading {
    let uncertainty = took / 2;
    let middle = time + i128::try_from(uncertainty.as_nanos()).unwrap_or(i128::MAX / 2);
    Reading {
        early: i128::from(guest) - middle,
        uncertainty,
    }
}

/// What the guest is told. With `sets` a clock that is late is set in any case: the container has just been started.
fn correction(reading: Reading, sets: bool) -> Option<ClockRequest> {
    let Reading { early, uncertainty } = reading;
    let unsure = i128::try_from(uncertainty.as_nanos()).unwrap_or(i128::MAX);
    if early.abs() <= unsure.max(SMALL) {
        return None;
    }
    Some(ClockRequest {
        // What a guest says of its clock may be anything.
        shift_ns: i64::try_from(-early).ok()?,
        at_once: early >= EARLY || early <= -LATE || (sets && early < 0),
    })
}

/// The moments at which the host's clock does not go on as before: it was set, or the host was suspended (`timerfd_create(2)`,
/// `TFD_TIMER_CANCEL_ON_SET`).
#[derive(Debug)]
struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        // SAFETY: the descriptor is owned by what is registered, and is closed with it alone.
        let changes = Self(unsafe { AsyncFd::register(timer) }?);
        changes.arm()?;
        Ok(changes)
    }

    /// It never rings by itself.
    fn arm(&self) -> io::Result<()> {
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let never = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::MAX / 1_000_000_000,
                tv_nsec: 0,
            },
        };
        timerfd_settime(self.0.get_ref(), flags, &never)?;
        Ok(())
    }

    async fn next(&mut self) {
        loop {
            let Ok(mut ready) = self.0.readable_mut().await else {
                return std::future::pending().await;
            };
            ready.clear_ready();
            match rustix::io::read(ready.get_inner(), &mut [0; 8]) {
                Err(Errno::CANCELED) => {
                    drop(ready);
                    // If it cannot be set again, the period is left.
                    let _ = self.arm();
                    return;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                _ => return std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i128 = 1_000_000;

    fn told(early: i128, uncertainty: u64, sets: bool) -> Option<(i64, bool)> {
        let uncertainty = Duration::from_millis(uncertainty);
        let request = correction(Reading { early, uncertainty }, sets);
        request.map(|request| (request.shift_ns, request.at_once))
    }

    #[test]
    fn a_clock_is_corrected_by_what_is_known_of_it() {
        // As well as it is known.
        assert_eq!(told(-4 * MS, 5, true), None);
        assert_eq!(told(MS / 3, 0, true), None);
        // Just started: late, or early.
        assert_eq!(told(-4 * MS, 1, true), Some((4_000_000, true)));
        assert_eq!(told(4 * MS, 1, true), Some((-4_000_000, false)));
        // Drift.
        assert_eq!(told(-4 * MS, 1, false), Some((4_000_000, false)));
        // The host was suspended for an hour, or its clock set.
        let hour = 3_600_000 * MS;
        assert_eq!(told(-hour, 1, false), Some((3_600_000_000_000, true)));
        assert_eq!(told(hour, 1, false), Some((-3_600_000_000_000, true)));
        // A guest may say anything.
        for guest in [0, 1, u64::MAX] {
            let reading = reading(1_800_000_000_000 * MS, Duration::from_millis(2), guest);
            assert!(reading.early.abs() > MS);
            let _ = correction(reading, true);
        }
    }

    #[test]
    fn the_guest_s_time_is_that_of_the_middle() {
        let reading = reading(1000 * MS, Duration::from_millis(6), 1_001_000_000);
        assert_eq!(reading.early, -2 * MS);
        assert_eq!(reading.uncertainty, Duration::from_millis(3));
    }

    #[tokio::test]
    async fn a_clock_that_goes_on_is_no_change() {
        let mut changes = Changes::new().unwrap();
        let next = tokio::time::timeout(Duration::from_millis(20), changes.next());
        assert!(next.await.is_err());
    }
}
