//! A copy of a disk as it is at one moment, while the machine that has it goes on.
//!
//! The guest writes everything out and lets nobody write (`FIFREEZE`) until the copy is made: by reflink at once, else as fast as the host
//! copies what is allocated. The host looks at no byte of it. So how slow the reader of an archive is costs the container nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::{Error, Kind};
use container_archive::operation::{HELD, HOLD_LIMIT, Operation, Subject, Task};
use container_ext4::Progress;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

use super::Entry;
use super::archive::{operate, words};
use super::create::kind;
use super::helper::{Helper, Lent};
use crate::thread::on_thread;

/// How long a guest may take to write out what it has in memory.
const SETTLING: Duration = Duration::from_secs(120);
/// Between two looks at how far a copy is.
const LOOK: Duration = Duration::from_secs(1);
/// How long a guest may take to say that it goes on.
const LETTING_GO: Duration = Duration::from_secs(10);
/// Bytes of what the guest says that are told.
const TEXT_MAX: u64 = 4 << 10;

/// Copies the disk `from`, which the machine of `entry`, with `helper`, has as `subject`, to `to`. One copy after the other: a file
/// system is held once.
///
/// # Errors
/// When there is no room, and when the guest does not hold it still for as long as that takes; what there is of the copy is of no use then.
pub async fn copy_held(
    entry: &Entry,
    helper: &Helper,
    subject: Subject,
    from: &Path,
    to: &Path,
) -> Result<(), Error> {
    let _moment = entry.moment.lock().await;
    let failed = |error: io::Error| Error::caused(Kind::Internal, error).context("copy a disk");
    let (input, hold) = pipe().map_err(failed)?;
    let (said, output) = pipe().map_err(failed)?;
    let (told, errors) = pipe().map_err(failed)?;
    let (said, told) = (
        receiver(said).map_err(failed)?,
        receiver(told).map_err(failed)?,
    );
    let task = Task {
        subject,
        operation: Operation::Hold,
    };
    let lent = Lent::own([input, output, errors]);
    let held = async { tokio::join!(operate(helper, words(&task), Some(lent)), text(told)) };
    let copied = async {
        let copied = copy_when_held(said, &hold, from, to).await;
        // It may go on.
        drop(hold);
        copied
    };
    let (held, copied) = not_long_after(copied, held, LETTING_GO).await;
    let copied = copied?;
    let told = match held {
        Some((held, told)) => {
            if held? == 0 && copied {
                return Ok(());
            }
            told
        }
        None => "the guest does not answer".to_owned(),
    };
    let text = format!("the file system could not be held still: {}", told.trim());
    Err(Error::new(Kind::Internal, text).with_hint("With --pause=false it is read as it changes."))
}

/// Copies when the guest says that it holds still, and tells it by `hold` that the copy goes on; false where it does not.
async fn copy_when_held(
    mut said: Receiver,
    hold: &OwnedFd,
    from: &Path,
    to: &Path,
) -> Result<bool, Error> {
    let mut word = [0; HELD.len()];
    let read = tokio::time::timeout(SETTLING, said.read_exact(&mut word)).await;
    if !matches!(read, Ok(Ok(_))) || word != HELD {
        return Ok(false);
    }
    let goes_on = || {
        // A guest that is gone is seen elsewhere.
        let _ = rustix::io::write(hold, b".");
    };
    copy_watched(HOLD_LIMIT, from, to, goes_on).await
}

/// Copies, and calls `goes_on` each second in which something was copied; false where nothing was for `limit`.
///
/// # Errors
/// When there is no room, or nothing to copy.
pub async fn copy_watched(
    limit: Duration,
    from: &Path,
    to: &Path,
    mut goes_on: impl FnMut(),
) -> Result<bool, Error> {
    let (from, to) = (from.to_owned(), to.to_owned());
    let progress = Arc::new(Progress::default());
    let work = {
        let progress = Arc::clone(&progress);
        move || {
            container_files::create(&to)
                .and_then(|file| container_ext4::copy_until(&from, &file, &progress))
        }
    };
    let failed = |error: io::Error| Error::caused(kind(&error), error).context("copy a disk");
    let mut copied = pin!(on_thread("copy", work));
    let (mut at, mut since) = (0, Instant::now());
    loop {
        match tokio::time::timeout(LOOK.min(limit), &mut copied).await {
            Ok(Ok(Ok(()))) => return Ok(true),
            Ok(Ok(Err(error)) | Err(error)) => return Err(failed(error)),
            Err(_) => {}
        }
        let now = progress.at.load(Ordering::Relaxed);
        if now != at {
            (at, since) = (now, Instant::now());
            goes_on();
        } else if since.elapsed() >= limit {
            progress.stop.store(true, Ordering::Relaxed);
            return Ok(false);
        }
    }
}

/// What `first` gives, and what `second` gives if that comes at most `limit` after it.
async fn not_long_after<F, S>(
    first: impl Future<Output = F>,
    second: impl Future<Output = S>,
    limit: Duration,
) -> (Option<S>, F) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    tokio::select! {
        first = &mut first => (tokio::time::timeout(limit, second).await.ok(), first),
        second = &mut second => (Some(second), first.await),
    }
}

/// What comes, up to its end or a bound.
async fn text(told: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    // What was read before it broke is all there is to tell.
    let _ = told.take(TEXT_MAX).read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

fn receiver(end: OwnedFd) -> io::Result<Receiver> {
    rustix::io::ioctl_fionbio(&end, true)?;
    Receiver::from_owned_fd(end)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_guest_that_says_nothing_is_not_waited_for() {
        let limit = Duration::from_millis(10);
        assert_eq!(
            not_long_after(ready(1), pending::<()>(), limit).await,
            (None, 1)
        );
        // Before the copy is made there is no hurry.
        let slow = async {
            tokio::time::sleep(5 * limit).await;
            1
        };
        assert_eq!(not_long_after(slow, ready(2), limit).await, (Some(2), 1));
    }

    #[tokio::test]
    async fn a_copy_is_whole_or_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        std::fs::write(&from, "bytes").unwrap();
        let limit = Duration::from_secs(60);
        let copied = copy_watched(limit, &from, &to, || {}).await;
        assert!(copied.unwrap());
        assert_eq!(std::fs::read(&to).unwrap(), b"bytes");
        let none = scratch.path().join("none");
        assert!(copy_watched(limit, &none, &to, || {}).await.is_err());
    }
}
