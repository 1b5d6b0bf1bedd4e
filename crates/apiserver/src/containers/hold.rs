//! A copy of a disk as it is at one moment, while the machine that has it goes on.
//!
//! The guest writes everything out and lets nobody write (`FIFREEZE`) until the copy is made: by reflink at once, else as fast as the host
//! copies what is allocated. The host looks at no byte of it. So how slow the reader of an archive is costs the container nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use container_api::{Error, Kind};
use container_archive::operation::{HELD, HOLD_LIMIT, Operation, Subject, Task};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe::Receiver;

use super::archive::{operate, words};
use super::helper::{Helper, Lent};

/// How long a guest may take to write out what it has in memory.
const SETTLING: Duration = Duration::from_secs(120);
/// Bytes of what the guest says that are told.
const TEXT_MAX: u64 = 4 << 10;

/// Copies the disk `from`, which the machine of `helper` has as `subject`, to `to`.
///
/// # Errors
/// When there is no room, and when the guest does not hold it still for long enough; what there is of the copy is of no use then.
pub async fn copy_held(
    helper: &Helper,
    subject: Subject,
    from: &Path,
    to: &Path,
) -> Result<(), Error> {
    let failed = |error: io::Error| Error::chain(Kind::Internal, &error).context("copy a disk");
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
    let held = operate(helper, words(&task), Some(lent));
    let copied = async {
        let copied = copy_when_held(said, from, to).await;
        // It may go on.
        drop(hold);
        copied
    };
    let (held, copied, told) = tokio::join!(held, copied, text(told));
    let (code, copied) = (held?, copied?);
    if code == 0 && copied {
        return Ok(());
    }
    let text = format!("the file system could not be held still: {}", told.trim());
    Err(Error::new(Kind::Internal, text).with_hint("With --pause=false it is read as it changes."))
}

/// Copies when the guest says that it holds still; false where it does not.
async fn copy_when_held(mut said: Receiver, from: &Path, to: &Path) -> Result<bool, Error> {
    let mut word = [0; HELD.len()];
    let read = tokio::time::timeout(SETTLING, said.read_exact(&mut word)).await;
    if !matches!(read, Ok(Ok(_))) || word != HELD {
        return Ok(false);
    }
    let (from, to) = (from.to_owned(), to.to_owned());
    let copy = tokio::task::spawn_blocking(move || {
        let file = container_files::create(&to)?;
        container_ext4::copy(&from, &file)
    });
    let kind = |error: &io::Error| super::create::kind(error);
    match tokio::time::timeout(HOLD_LIMIT, copy).await {
        Ok(Ok(Ok(()))) => Ok(true),
        Ok(Ok(Err(error))) => Err(Error::chain(kind(&error), &error).context("copy a disk")),
        Ok(Err(error)) => Err(Error::chain(Kind::Internal, &error)),
        Err(_) => Ok(false),
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
