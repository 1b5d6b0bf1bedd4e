//! Keeps the container's page cache no larger than it has use for.
//!
//! A kernel fills all memory that it has with files that were read once, and in a machine that memory is the host's.
//! Here the cache shrinks step by step until the container would miss it (`memory.reclaim`, `workingset_refault_file`:
//! Documentation/admin-guide/cgroup-v2.rst); what is freed is reported to the host. A page that was given up too early
//! is in the host's cache still, where machines of one image share it.

use std::sync::Weak;
use std::time::Duration;

use super::cgroup::{Cgroup, field};

/// Between two steps while there is something to give up.
const EAGER: Duration = Duration::from_secs(2);
/// Between two looks, at last, while there is nothing.
const LAZY: Duration = Duration::from_secs(64);
/// Bytes that are not worth the work.
const KEPT: u64 = 32 << 20;
/// Bytes of one step: the agent does nothing else meanwhile.
const STEP_MAX: u64 = 32 << 20;
/// Bytes for which no step is made.
const STEP_MIN: u64 = 1 << 20;
/// What is above `KEPT` shrinks by this part at a time.
const STEP_PART: u64 = 4;
/// Pages that may have come back since the last look.
const MISSED_MAX: u64 = 256;

/// Looks after the cache of `cgroup` until that is gone.
pub async fn trim(cgroup: Weak<Cgroup>) {
    let mut policy = Policy::default();
    loop {
        tokio::time::sleep(policy.pause).await;
        let Some(cgroup) = cgroup.upgrade() else {
            return;
        };
        if let Some(bytes) = policy.step(&Sample::parse(&cgroup.read("memory.stat"))) {
            // EAGAIN: there was less to be had, which the next look shows.
            let _ = cgroup.reclaim(bytes);
        }
    }
}

/// The cache at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    /// Bytes that could be given up.
    clean: u64,
    /// Pages, since ever, that were read again soon after they had been given up.
    refaults: u64,
}

impl Sample {
    fn parse(statistics: &str) -> Self {
        let value = |key| field(statistics, key).unwrap_or_default();
        let files = value("inactive_file") + value("active_file");
        Self {
            clean: files.saturating_sub(value("file_dirty") + value("file_writeback")),
            refaults: value("workingset_refault_file"),
        }
    }
}

#[derive(Debug)]
struct Policy {
    pause: Duration,
    refaults: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            pause: EAGER,
            refaults: 0,
        }
    }
}

impl Policy {
    /// How much to give up now, and in `pause` when to look again.
    fn step(&mut self, now: &Sample) -> Option<u64> {
        let missed = now.refaults.saturating_sub(self.refaults);
        self.refaults = now.refaults;
        let spare = now.clean.saturating_sub(KEPT);
        if missed > MISSED_MAX || spare < STEP_MIN {
            self.pause = (self.pause * 2).min(LAZY);
            return None;
        }
        self.pause = EAGER;
        Some((spare / STEP_PART).clamp(STEP_MIN, STEP_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn dirty_pages_are_not_spare() {
        let text = "anon 5\ninactive_file 100\nactive_file 50\nfile_dirty 30\nfile_writeback 20\n\
            workingset_refault_anon 9\nworkingset_refault_file 7\n";
        let sample = Sample {
            clean: 100,
            refaults: 7,
        };
        assert_eq!(Sample::parse(text), sample);
        let nothing = Sample {
            clean: 0,
            refaults: 0,
        };
        assert_eq!(Sample::parse(""), nothing);
    }

    #[test]
    fn the_cache_shrinks_until_it_is_missed() {
        let mut policy = Policy::default();
        let mut sample = Sample {
            clean: 1024 * MIB,
            refaults: 0,
        };
        let mut steps = 0;
        while let Some(bytes) = policy.step(&sample) {
            assert!(bytes <= STEP_MAX && policy.pause == EAGER);
            sample.clean -= bytes;
            steps += 1;
        }
        assert!((KEPT..KEPT + STEP_MIN).contains(&sample.clean));
        assert!((30..100).contains(&steps), "{steps}");

        sample.clean = 512 * MIB;
        sample.refaults = MISSED_MAX + 1;
        assert_eq!(policy.step(&sample), None, "pages came back");
        assert!(policy.step(&sample).is_some(), "no more came back");
    }

    #[test]
    fn nothing_to_do_is_looked_for_ever_more_rarely() {
        let mut policy = Policy::default();
        let small = Sample {
            clean: KEPT,
            refaults: 0,
        };
        for _ in 0..10 {
            assert_eq!(policy.step(&small), None);
        }
        assert_eq!(policy.pause, LAZY);
    }
}
