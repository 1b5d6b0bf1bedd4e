//! One process per thing: a record lock that names its holder.
//!
//! POSIX record locks (`fcntl(2)`, `F_SETLK`) end with their process, however it ends, and `F_GETLK` tells
//! who holds one: a pid file that cannot be stale.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use container_files::Links;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// Between two tries for a file: the kernel tells nobody without a thread of its own that a lock is free.
const PAUSE: Duration = Duration::from_millis(2);

/// How long to wait for descriptors or memory before the next look.
const SHORTAGE: Duration = Duration::from_millis(50);

/// A held lock; released when dropped, or when the process ends.
///
/// The process must not open the lock file a second time: closing any descriptor of it releases the lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Another process that has a share, too.
    ///
    /// # Errors
    /// As `fcntl(2)`.
    pub fn other_holder(&self) -> io::Result<Option<Pid>> {
        let found = rustix::process::fcntl_getlk(&self.file, &Flock::from(FlockType::WriteLock))?;
        Ok(found.and_then(|lock| lock.pid))
    }
}

/// Takes the lock at `path`, creating the file when it is missing.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process holds it; else as `open(2)`.
pub fn acquire(path: &Path) -> io::Result<Lock> {
    take(path, FlockOperation::NonBlockingLockExclusive)
}

/// Takes a share of the lock at `path`, which others may have, too; creates the file when it is missing.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process holds the whole of it; else as `open(2)`.
pub fn share(path: &Path) -> io::Result<Lock> {
    take(path, FlockOperation::NonBlockingLockShared)
}

fn take(path: &Path, operation: FlockOperation) -> io::Result<Lock> {
    let file = container_files::append(path)?;
    match rustix::fs::fcntl_lock(&file, operation) {
        Ok(()) => Ok(Lock { file }),
        // Both are "held by another process" (POSIX).
        Err(Errno::ACCESS | Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}

/// The process that holds the lock at `path`, if any does.
///
/// # Errors
/// As `open(2)`, except that a missing file, or what is no regular one, is held by nobody.
pub fn holder(path: &Path) -> io::Result<Option<Pid>> {
    let file = match container_files::open(path, Links::Refuse) {
        Ok(file) => file,
        // What is no regular file nobody can have taken.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::InvalidData
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let found = rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?;
    Ok(found.and_then(|lock| lock.pid))
}

/// Takes the whole file by `flock(2)`, a lock that lasts as long as the file is open: at once, or as soon as others give it up within
/// `patience`. `how` does not block.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when others have it for longer; else as `flock(2)`.
pub async fn take_file(file: &File, how: FlockOperation, patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match rustix::fs::flock(file, how) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            taken => return Ok(taken?),
        }
    }
}

/// Sends `signal` to the holder of the lock at `path`; false when nobody holds it.
///
/// # Errors
/// As `pidfd_send_signal(2)`.
pub fn signal_holder(path: &Path, signal: Signal) -> io::Result<bool> {
    let Some(pid) = holder(path)? else {
        return Ok(false);
    };
    let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    // Between the two calls the holder may have died and its number been given to another process.
    if holder(path)? != Some(pid) {
        return Ok(false);
    }
    match rustix::process::pidfd_send_signal(&pidfd, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// As [`signal_holder`], and waits while the host has no descriptor or memory to spare.
///
/// # Errors
/// As [`signal_holder`].
pub async fn signal_patiently(path: &Path, signal: Signal) -> io::Result<bool> {
    patiently(|| signal_holder(path, signal)).await
}

/// Calls `look` until it fails for another reason than that the host has nothing to spare for the moment: who took that for
/// an answer would leave a process behind.
async fn patiently<T>(look: impl Fn() -> io::Result<T>) -> io::Result<T> {
    loop {
        match look() {
            Err(error) if is_shortage(&error) => tokio::time::sleep(SHORTAGE).await,
            other => return other,
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}

/// Waits until nobody holds the lock at `path`.
///
/// # Errors
/// As [`holder`], and when the holder cannot be watched.
pub async fn released(path: &Path) -> io::Result<()> {
    while let Some(pid) = patiently(|| holder(path)).await? {
        let opened = patiently(|| Ok(rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?));
        let pidfd = match opened.await {
            // SAFETY: an OwnedFd names one open description as long as it lives.
            Ok(pidfd) => unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? },
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        // It may have died, and its number been given away, between the two calls.
        if patiently(|| holder(path)).await? == Some(pid) {
            // Readable: the process has ended (pidfd_open(2)).
            let _ = pidfd.readable().await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_a_missing_lock() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(holder(&scratch.path().join("l")).unwrap(), None);
        assert!(!signal_holder(&scratch.path().join("l"), Signal::TERM).unwrap());
    }

    #[tokio::test]
    async fn a_file_is_had_as_soon_as_it_is_given_up_and_not_for_ever_waited_for() {
        let scratch = tempfile::tempdir().unwrap();
        let open = || container_files::append(&scratch.path().join("f")).unwrap();
        let (one, other) = (open(), open());
        let how = FlockOperation::NonBlockingLockExclusive;
        take_file(&one, how, Duration::ZERO).await.unwrap();
        for patience in [0, 5] {
            let refused = take_file(&other, how, Duration::from_millis(patience)).await;
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        let (taken, ()) = tokio::join!(take_file(&other, how, Duration::from_secs(60)), async {
            tokio::task::yield_now().await;
            rustix::fs::flock(&one, FlockOperation::Unlock).unwrap();
        });
        taken.unwrap();
    }

    #[test]
    fn another_process_is_told_who_holds_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("l");
        // flock(1) takes another kind of lock, so the other process is python's fcntl.lockf, which is F_SETLK.
        let mut child = std::process::Command::new("python3")
            .arg("-c")
            .arg("import fcntl,sys;f=open(sys.argv[1],'w');fcntl.lockf(f,fcntl.LOCK_EX);print('held',flush=True);sys.stdin.read()")
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        assert_eq!(
            acquire(&path).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let pid = holder(&path).unwrap().unwrap();
        assert_eq!(
            u32::try_from(pid.as_raw_nonzero().get()).unwrap(),
            child.id()
        );
        assert!(signal_holder(&path, Signal::KILL).unwrap());
        child.wait().unwrap();
        assert_eq!(holder(&path).unwrap(), None);
        acquire(&path).unwrap();
    }
}
