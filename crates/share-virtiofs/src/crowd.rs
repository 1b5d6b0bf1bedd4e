//! Whether descriptors become few: the guest's kernel keeps every file that it has seen, and each takes one of this process, until
//! it is asked to let go of those that nobody uses.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, RawDir, fstat, openat};

/// Files that a guest may come to know in a second: more than one CPU asks for.
const FILES_PER_SECOND: u64 = 40_000;
/// Between two looks: bounds of what [`FILES_PER_SECOND`] makes of the room that there is.
const SHORTEST: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_secs(10);

/// Looks from time to time; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    // Dropped before the thread is waited for.
    going: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Calls `tell` whenever more than half of `limit` descriptors are open, of those that the directory `descriptors` lists.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        descriptors: OwnedFd,
        limit: u64,
        tell: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (going, gone) = channel();
        let thread = thread::Builder::new().name("crowd".to_owned());
        let thread = thread.spawn(move || {
            let most = limit / 2;
            let mut pause = SHORTEST;
            // It sleeps so, as a call of its own for that is not on the list.
            while gone.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let Ok(open) = count(&descriptors) else {
                    continue;
                };
                let room = if open > most {
                    tell();
                    // Files that are in use stay: asked again when half of what is left may be gone.
                    limit.saturating_sub(open) / 2
                } else {
                    most - open
                };
                pause = pause_for(room);
            }
        })?;
        Ok(Self {
            going: Some(going),
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.going.take());
        if let Some(thread) = self.thread.take() {
            // One that has panicked watches no more, which is what was wanted.
            let _ = thread.join();
        }
    }
}

/// Until there may be `room` more files.
fn pause_for(room: u64) -> Duration {
    Duration::from_millis(room.saturating_mul(1000) / FILES_PER_SECOND).clamp(SHORTEST, LONGEST)
}

/// How many descriptors are open. Linux before 6.2 does not tell, so they are listed there.
fn count(descriptors: impl AsFd) -> io::Result<u64> {
    let told = fstat(&descriptors)?.st_size;
    if let Ok(told @ 1..) = u64::try_from(told) {
        return Ok(told);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(&descriptors, ".", flags, Mode::empty())?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut count = 0;
    while let Some(entry) = entries.next() {
        entry?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn it_tells_when_more_than_half_are_open() {
        let descriptors: OwnedFd = File::open("/proc/self/fd").unwrap().into();
        let now = count(&descriptors).unwrap();
        assert!((3..1000).contains(&now), "{now}");
        let (sender, told) = channel();
        // Tests beside this one open files, too, but not so many.
        let limit = 2 * (now + 500);
        let watch = Watch::start(descriptors.try_clone().unwrap(), limit, move || {
            let _ = sender.send(());
        });
        let watch = watch.unwrap();
        told.recv_timeout(Duration::from_millis(200)).unwrap_err();
        let files: Vec<_> = (0..600).map(|_| File::open("/dev/null").unwrap()).collect();
        told.recv_timeout(Duration::from_secs(20)).unwrap();
        drop(files);
        drop(watch);
        assert!(told.try_iter().count() < 1000);
        assert!(told.recv().is_err());
    }

    #[test]
    fn it_looks_often_where_there_is_little_room() {
        assert_eq!(pause_for(0), SHORTEST);
        assert_eq!(pause_for(10_000), Duration::from_millis(250));
        assert_eq!(pause_for(1_000_000_000), LONGEST);
    }
}
