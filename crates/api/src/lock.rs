//! One process per thing: a record lock that names its holder.
//!
//! POSIX record locks (`fcntl(2)`, `F_SETLK`) end with their process, however it ends, and `F_GETLK` tells
//! who holds one: a pid file that cannot be stale.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::process::{Flock, FlockType, Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A held lock; released when dropped, or when the process ends.
///
/// The process must not open the lock file a second time: closing any descriptor of it releases the lock.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock at `path`, creating the file when it is missing.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process holds it; else as `open(2)`.
pub fn acquire(path: &Path) -> io::Result<Lock> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { _file: file }),
        // Both are "held by another process" (POSIX).
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The process that holds the lock at `path`, if any does.
///
/// # Errors
/// As `open(2)`, except that a missing file is held by nobody.
pub fn holder(path: &Path) -> io::Result<Option<Pid>> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?;
    Ok(found.and_then(|lock| lock.pid))
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
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    // Between the two calls the holder may have died and its number been given to another process.
    if holder(path)? != Some(pid) {
        return Ok(false);
    }
    match rustix::process::pidfd_send_signal(&pidfd, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits until nobody holds the lock at `path`.
///
/// # Errors
/// As [`holder`], and when the holder cannot be watched.
pub async fn released(path: &Path) -> io::Result<()> {
    while let Some(pid) = holder(path)? {
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            // SAFETY: an OwnedFd names one open description as long as it lives.
            Ok(pidfd) => unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? },
            Err(rustix::io::Errno::SRCH) => continue,
            Err(error) => return Err(error.into()),
        };
        // It may have died, and its number been given away, between the two calls.
        if holder(path)? == Some(pid) {
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
