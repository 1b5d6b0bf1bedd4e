//! File systems of volumes that become as large as their disks, which the host may have made larger.
//!
//! The kernel does that while they are used, some milliseconds for each group of blocks under an emulator. So it is done in steps, each of
//! which leaves a whole file system: what takes long goes on beside the container, and stops between two steps when the volume is closed.
//! The next machine goes on with it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fatal::say;

/// `EXT4_IOC_RESIZE_FS` of the kernel's fs/ext4/ext4.h: `_IOW('f', 16, __u64)`.
const RESIZE: libc::Ioctl = 0x4008_6610;
/// `BLKGETSIZE64` of linux/fs.h: `_IOR(0x12, 114, size_t)`.
const SIZE: libc::Ioctl = 0x8008_1272;
/// Groups of blocks that come with a step: half a second under an emulator. A group is 128 MiB, or 8 MiB on small disks.
const STEP: u64 = 64;
/// How long a start waits for all its volumes to grow. What is left is done while the container runs.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A file system that is smaller than its disk.
#[derive(Debug)]
struct Growing {
    disk: File,
    /// Its root directory.
    root: File,
    /// Bytes of the disk.
    bytes: u64,
}

impl Growing {
    /// The one on `node` that is mounted at `target`; nothing, where it is as large as its disk.
    fn find(node: &str, target: &Path) -> io::Result<Option<Self>> {
        let disk = File::open(node)?;
        let mut bytes = 0_u64;
        // SAFETY: BLKGETSIZE64 writes one number of that size.
        if unsafe { libc::ioctl(disk.as_raw_fd(), SIZE, &raw mut bytes) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let found = Blocks::read(&disk)?;
        if bytes / found.size <= found.count {
            return Ok(None);
        }
        let root = File::open(target)?;
        Ok(Some(Self { disk, root, bytes }))
    }

    /// Makes one step; false where it was the last one.
    fn step(&self) -> io::Result<bool> {
        let found = Blocks::read(&self.disk)?;
        let wanted = self.bytes / found.size;
        let Some(next) = found.next(wanted) else {
            return Ok(false);
        };
        // SAFETY: EXT4_IOC_RESIZE_FS reads one number of that size.
        if unsafe { libc::ioctl(self.root.as_raw_fd(), RESIZE, &raw const next) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let reached = Blocks::read(&self.disk)?.count;
        // What is less than a group is left out.
        Ok(reached > found.count && reached < wanted)
    }
}

/// What a file system consists of.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    count: u64,
    /// Bytes of one.
    size: u64,
    /// Blocks of a group.
    group: u64,
}

impl Blocks {
    /// By the superblock, which begins at 1024: `s_blocks_count_lo`, `s_log_block_size`, `s_blocks_per_group` and `s_blocks_count_hi`
    /// (Documentation/filesystems/ext4/super.rst).
    fn read(disk: &File) -> io::Result<Self> {
        let number = |at: u64| {
            let mut bytes = [0; 4];
            disk.read_exact_at(&mut bytes, 1024 + at)?;
            Ok::<_, io::Error>(u32::from_le_bytes(bytes))
        };
        let (low, log, group, high) = (number(0x4)?, number(0x18)?, number(0x20)?, number(0x150)?);
        Ok(Self {
            // Without 64-bit numbers the upper half is not used, and zero.
            count: u64::from(high) << 32 | u64::from(low),
            size: 1024 << log.min(6),
            group: group.into(),
        })
    }

    /// How many there are after the next step towards `wanted`.
    fn next(self, wanted: u64) -> Option<u64> {
        let next = self.count.saturating_add(STEP * self.group);
        (self.count < wanted).then_some(next.min(wanted))
    }
}

/// What is still to grow.
#[derive(Debug, Default)]
pub struct Growth {
    /// Held for a step.
    left: Mutex<Vec<Growing>>,
}

impl Growth {
    /// Lets the file system on `node`, mounted at `target`, grow until `deadline`; the rest is remembered.
    pub fn begin(&self, node: &str, target: &Path, deadline: Instant) -> io::Result<()> {
        let Some(growing) = Growing::find(node, target)? else {
            return Ok(());
        };
        while growing.step()? {
            if Instant::now() >= deadline {
                self.lock().push(growing);
                break;
            }
        }
        Ok(())
    }

    /// When a start that begins now goes on.
    pub fn deadline() -> Instant {
        Instant::now() + AT_ONCE
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.lock().is_empty()
    }

    /// Goes on with what is left, until there is nothing. It takes long.
    pub fn finish(&self) {
        loop {
            let mut left = self.lock();
            let Some(growing) = left.last() else { return };
            match growing.step() {
                Ok(true) => {}
                Ok(false) => drop(left.pop()),
                Err(error) => {
                    say(&format!("cannot let a volume grow: {error}"));
                    left.pop();
                }
            }
            drop(left);
            // Else whoever wants it stopped may wait for one step after another.
            std::thread::yield_now();
        }
    }

    /// Leaves what is left to the next machine; the step that was begun has ended then.
    pub fn stop(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Growing>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_done_in_steps() {
        let next = |count, wanted| {
            let (size, group) = (4096, 32768);
            Blocks { count, size, group }.next(wanted)
        };
        let step = STEP * 32768;
        assert_eq!(next(100, 100), None);
        assert_eq!(next(200, 100), None);
        assert_eq!(next(100, 101), Some(101));
        assert_eq!(next(100, 100 + 2 * step), Some(100 + step));
        assert_eq!(next(100, 100 + step), Some(100 + step));
        assert_eq!(next(u64::MAX - 1, u64::MAX), Some(u64::MAX));
    }
}
