//! Space that was freed just before a container's end: what looks for it while the container runs has not been there since.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{major, minor, stat, statvfs};

use crate::archive;
use crate::fatal::say;

/// Bytes that are not worth a look at the whole file system.
const LEAST: u64 = 8 << 20;
/// How long it may take to give space back. What is left of it comes back with the next container.
const PATIENCE: Duration = Duration::from_secs(4);

/// File systems as they were when the container was started.
#[derive(Debug, Default)]
pub struct Leftover(Vec<Start>);

#[derive(Debug)]
struct Start {
    place: PathBuf,
    written: u64,
    used: u64,
}

impl Leftover {
    /// Looks at what is mounted at `places`.
    pub fn new<'a>(places: impl IntoIterator<Item = &'a Path>) -> Self {
        let look = |place: &'a Path| {
            let (written, used) = look(place)?;
            Some(Start {
                place: place.to_owned(),
                written,
                used,
            })
        };
        Self(places.into_iter().filter_map(look).collect())
    }

    /// Gives back what was freed of the file systems that `fits`. Nobody writes to them any more.
    pub fn give_back(&self, fits: impl Fn(&Path) -> bool) {
        let until = Instant::now() + PATIENCE;
        for start in self.0.iter().filter(|start| fits(&start.place)) {
            let Some((written, used)) = look(&start.place) else {
                continue;
            };
            if freed((start.written, start.used), (written, used)) < LEAST {
                continue;
            }
            if let Err(error) = archive::give_back(&start.place, Some(until)) {
                say(&format!("cannot trim {}: {error}", start.place.display()));
            }
        }
    }
}

/// Bytes that were written, and are not in use now: an estimate, as blocks may be written more than once.
fn freed(before: (u64, u64), now: (u64, u64)) -> u64 {
    let written = now.0.saturating_sub(before.0);
    let kept = now.1.saturating_sub(before.1);
    let gone = before.1.saturating_sub(now.1);
    written.saturating_sub(kept).saturating_add(gone)
}

/// Bytes that were written to the disk of `place` since the guest's boot (Documentation/admin-guide/iostats.rst), and that are in use.
fn look(place: &Path) -> Option<(u64, u64)> {
    let device = stat(place).ok()?.st_dev;
    let statistics = fs::read_to_string("/proc/diskstats").ok()?;
    let sectors = sectors_written(&statistics, (major(device), minor(device)))?;
    let found = statvfs(place).ok()?;
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    Some((
        sectors.saturating_mul(512),
        used.saturating_mul(found.f_frsize),
    ))
}

fn sectors_written(statistics: &str, device: (u32, u32)) -> Option<u64> {
    let mut lines = statistics.lines().map(str::split_whitespace);
    lines.find_map(|mut words| {
        let numbers = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        if numbers == device {
            words.nth(7)?.parse().ok()
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_and_is_not_in_use_was_freed() {
        // A file that was made and deleted; one that stays; one that was there before.
        assert_eq!(freed((10, 100), (160, 100)), 150);
        assert_eq!(freed((10, 100), (160, 240)), 10);
        assert_eq!(freed((10, 100), (12, 40)), 62);
    }

    #[test]
    fn a_disk_s_line_is_found_by_its_numbers() {
        let statistics =
            "   8       0 sda 1 2 3 4 5 6 700 8 9\n 254      16 vdb 1 0 2 0 10 0 80 0 0 0 0\n";
        assert_eq!(sectors_written(statistics, (254, 16)), Some(80));
        assert_eq!(sectors_written(statistics, (8, 0)), Some(700));
        assert_eq!(sectors_written(statistics, (8, 1)), None);
    }
}
