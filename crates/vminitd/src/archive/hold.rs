//! Keeps a file system as it is for a moment, for whoever copies its disk.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;
use std::time::{Duration, Instant};

use container_archive::operation::{HELD, HOLD_LIMIT};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::error::ArchiveError;

/// `FIFREEZE` of linux/fs.h: `_IOWR('X', 119, int)`.
const FREEZE: libc::Ioctl = 0xc004_5877;
/// `FITHAW` of linux/fs.h: `_IOWR('X', 120, int)`.
const THAW: libc::Ioctl = 0xc004_5878;

/// Writes everything of the file system at `place` out, and lets nothing change it until standard input ends, or nothing comes there for
/// [`HOLD_LIMIT`]: whoever copies may be gone.
pub fn hold(place: &Path) -> Result<(), ArchiveError> {
    let failed = |error| ArchiveError::at(place)(error);
    let root = File::open(place).map_err(failed)?;
    control(&root, FREEZE).map_err(failed)?;
    let held = say()
        .map_err(ArchiveError::Write)
        .and_then(|()| wait(io::stdin(), HOLD_LIMIT));
    control(&root, THAW).map_err(failed)?;
    held
}

/// Lets the file system at `place` go on, if it is held: who held it may have been killed.
pub fn release(place: &Path) {
    let thawed = File::open(place).and_then(|root| control(&root, THAW));
    match thawed {
        // It was not held.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) => crate::fatal::say(&format!("cannot thaw {}: {error}", place.display())),
        Ok(()) => {}
    }
}

fn say() -> io::Result<()> {
    let mut output = io::stdout();
    output.write_all(HELD)?;
    output.flush()
}

/// Waits for the end of `input`, for at most `limit` from the last byte that came.
fn wait(mut input: impl io::Read + AsFd, limit: Duration) -> Result<(), ArchiveError> {
    let mut deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| ArchiveError::Held)?;
        let polled = poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&left));
        match polled {
            Ok(0) => return Err(ArchiveError::Held),
            Ok(_) => match input.read(&mut [0; 64]) {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => deadline = Instant::now() + limit,
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(ArchiveError::Write(error.into())),
        }
    }
}

fn control(root: &File, request: libc::Ioctl) -> io::Result<()> {
    // SAFETY: neither request reads or writes memory.
    if unsafe { libc::ioctl(root.as_raw_fd(), request, 0) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_held_for_as_long_as_the_copy_goes_on() {
        let pipe = || rustix::pipe::pipe().unwrap();
        let (limit, short) = (Duration::from_millis(600), Duration::from_millis(5));
        let (input, host) = pipe();
        drop(host);
        assert!(wait(File::from(input), short).is_ok());
        let (input, _host) = pipe();
        let silent = wait(File::from(input), short);
        assert!(matches!(silent, Err(ArchiveError::Held)));
        let (input, host) = pipe();
        let begun = Instant::now();
        let copy = std::thread::spawn(move || {
            while begun.elapsed() < limit + limit / 4 {
                rustix::io::write(&host, b".").unwrap();
                std::thread::sleep(short);
            }
        });
        assert!(wait(File::from(input), limit).is_ok());
        copy.join().unwrap();
    }
}
