//! A process's output as a stream of chunks.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use container_api::streams::StandardStream;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ioctl_fionread, read};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout};

use super::lifetime::Process;
use crate::watch::Watched;

/// Bytes of one chunk: at most, and of the room for one at least.
const CHUNK: usize = 128 * 1024;
const LEAST: usize = 512;
/// After the process's end, how long to wait for more from those that have inherited its stream, and for how
/// long to go on when they keep writing. What the process itself wrote is in the pipe by then, and is always
/// passed on: a daemon that keeps its parent's stdout open does not hold up whoever waits for the parent.
const SILENCE: Duration = Duration::from_millis(100);
const CHATTER: Duration = Duration::from_secs(2);

/// Reads one stream of one process. Dropped before the end, it gives the stream back for another reader.
#[derive(Debug)]
pub struct OutputReader {
    process: Arc<Process>,
    stream: StandardStream,
    descriptor: Option<Watched>,
    /// Set once the process has ended.
    rest: Option<Rest>,
}

/// What may still come after the process's end.
#[derive(Debug)]
struct Rest {
    /// Bytes that were in the pipe at the end.
    owed: u64,
    deadline: Instant,
}

impl OutputReader {
    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(descriptor) = self.descriptor.clone() else {
            return Ok(None);
        };
        if self.process.is_closed(self.stream) {
            self.descriptor = None;
            return Ok(None);
        }
        // A writer that outlives the process and never pauses must not hide its end.
        self.notice_end(descriptor.get_ref());
        loop {
            match read_chunk(descriptor.get_ref()) {
                // A terminal without any slave left says EIO.
                Ok(chunk) if chunk.is_empty() => break,
                Err(Errno::IO) => break,
                Ok(chunk) => {
                    if self.take(chunk.len() as u64) {
                        return Ok(Some(chunk));
                    }
                    break;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !self.more(&descriptor).await? {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.descriptor = None;
        Ok(None)
    }

    fn notice_end(&mut self, descriptor: &OwnedFd) {
        if self.rest.is_none() && self.process.exit().is_some() {
            self.rest = Some(Rest {
                owed: ioctl_fionread(descriptor).unwrap_or_default(),
                deadline: Instant::now() + CHATTER,
            });
        }
    }

    /// Whether `count` further bytes are still of interest.
    fn take(&mut self, count: u64) -> bool {
        let Some(rest) = &mut self.rest else {
            return true;
        };
        if rest.owed == 0 && Instant::now() >= rest.deadline {
            return false;
        }
        rest.owed = rest.owed.saturating_sub(count);
        true
    }

    /// Waits until there may be more to read; false when no more is waited for.
    async fn more(&mut self, descriptor: &AsyncFd<OwnedFd>) -> io::Result<bool> {
        // Whatever comes between the failed read and this clearing is found by the next read.
        let readable = async {
            descriptor.readable().await?.clear_ready();
            Ok::<_, io::Error>(())
        };
        if self.rest.is_some() {
            return match timeout(SILENCE, readable).await {
                Ok(result) => result.map(|()| true),
                Err(_) => Ok(false),
            };
        }
        tokio::select! {
            result = readable => result?,
            () = self.process.ended() => self.notice_end(descriptor.get_ref()),
            () = self.process.closed(self.stream) => return Ok(false),
        }
        Ok(true)
    }
}

impl Drop for OutputReader {
    fn drop(&mut self) {
        if let Some(descriptor) = self.descriptor.take() {
            self.process.put_back(self.stream, descriptor);
        }
    }
}

/// What `descriptor` holds, in memory that is no larger: there may be many outputs.
fn read_chunk(descriptor: &OwnedFd) -> rustix::io::Result<Bytes> {
    let waiting = ioctl_fionread(descriptor).unwrap_or_default();
    let room = usize::try_from(waiting).unwrap_or(CHUNK);
    let mut chunk = Vec::with_capacity(room.clamp(LEAST, CHUNK));
    read(descriptor, spare_capacity(&mut chunk))?;
    Ok(chunk.into())
}

/// Reads `stream` of `process`; `None` if somebody else does or it has ended.
pub fn output(process: &Arc<Process>, stream: StandardStream) -> Option<OutputReader> {
    let descriptor = process.take(stream)?;
    Some(OutputReader {
        process: Arc::clone(process),
        stream,
        descriptor: Some(descriptor),
        rest: None,
    })
}
