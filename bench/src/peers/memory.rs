//! What a machine costs, whoever made it: the memory of the processes that are there since.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use anyhow::ensure;

use crate::memory::field;

/// How long a machine is left alone before it is looked at: it still ends what it began with.
const SETTLED: Duration = Duration::from_secs(5);

/// Processes before something was made.
#[derive(Debug)]
pub struct Cost;

impl Cost {
    /// MiB of the processes that are there since `make`, by proportional set size: what they share counts for each of them in part.
    pub fn of(make: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
        let before = processes()?;
        make()?;
        std::thread::sleep(SETTLED);
        let since = processes()?;
        let mut sum = 0.0;
        for process in since.difference(&before) {
            // One that has ended meanwhile, or belongs to the kernel, has none.
            sum += field(&format!("/proc/{process}/smaps_rollup"), "Pss:").unwrap_or(0.0);
        }
        ensure!(sum > 0.0, "no process has stayed");
        Ok(sum)
    }
}

fn processes() -> anyhow::Result<HashSet<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}
