//! Space that a container frees goes back to the host by itself.

use std::fs;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use container_archive::operation::Operation;

use super::archive;
use super::exec::adopt;
use crate::container::Cgroup;
use crate::process::Process;

/// Between two looks. What is deleted is free when the journal is written, 5 s later at most.
const INTERVAL: Duration = Duration::from_secs(20);

/// Trims the disks of the container in `cgroup` whenever something was written to them, until it is gone.
pub async fn trim(cgroup: Weak<Cgroup>, leader: Arc<Process>) {
    let words = Operation::Trim.words();
    let mut seen = written();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (Some(cgroup), Some(pidfd)) = (cgroup.upgrade(), leader.pidfd()) else {
            return;
        };
        let now = written();
        if now == seen {
            continue;
        }
        let Ok(group) = archive::group() else { return };
        let birth = crate::process::archive(false, &words, pidfd.get_ref(), group.as_fd()).await;
        let process = birth.ok().and_then(|birth| adopt(birth, &cgroup).ok());
        drop((cgroup, pidfd));
        if let Some(process) = process {
            // Requests to discard are not counted as writes.
            process.ended().await;
            seen = now;
        }
    }
}

/// Sectors that were written to all disks since the guest's boot (Documentation/admin-guide/iostats.rst).
fn written() -> u64 {
    let statistics = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let sectors = |line: &str| line.split_whitespace().nth(9)?.parse::<u64>().ok();
    statistics.lines().filter_map(sectors).sum()
}
