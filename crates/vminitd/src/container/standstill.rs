//! Forgives the container the time in which its machine stood still.
//!
//! A guest whose VMM was stopped, or whose host slept, sees its clock jump, and its kernel charges all of the jump to the
//! process that ran when it happened. Under `cpu.max` the container would then stand for as long again. A limit that is
//! written anew has no debt (`tg_set_cfs_bandwidth` of kernel/sched/fair.c).

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::cgroup::Cgroup;
use crate::fatal::say;

/// Between two looks at the clock. Shorter jumps may pass unseen: their debt is as short.
const TICK: Duration = Duration::from_secs(5);
/// By how much a look may come late in a machine that is only busy.
const LATE: Duration = Duration::from_secs(1);

/// Looks for jumps of the clock until `cgroup` is gone.
pub async fn forgive(cgroup: Weak<Cgroup>) {
    loop {
        let before = Instant::now();
        tokio::time::sleep(TICK).await;
        let Some(cgroup) = cgroup.upgrade() else {
            return;
        };
        if before.elapsed() > TICK + LATE {
            if let Err(error) = cgroup.renew("cpu.max") {
                say(&format!("cannot renew the limit of CPU time: {error}"));
            }
        }
    }
}
