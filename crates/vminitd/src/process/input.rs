//! Feeds a process's standard input.

use std::io;
use std::sync::Arc;

use container_api::streams::StandardStream;
use rustix::io::{Errno, write};

use super::lifetime::Process;
use super::terminal::end_input;
use crate::watch::Watched;

/// The writing end of one process's standard input. Dropped unfinished, it gives the stream back, so that
/// another feeder can go on.
#[derive(Debug)]
pub struct Input {
    process: Arc<Process>,
    descriptor: Option<Watched>,
}

impl Input {
    /// Takes the stream; `None` if the process has none, or somebody else feeds it, or it is closed.
    pub fn take(process: Arc<Process>) -> Option<Self> {
        let descriptor = Some(process.take(StandardStream::Stdin)?);
        Some(Self {
            process,
            descriptor,
        })
    }

    /// Waits until the process's terminal has been hung up; without one, for ever.
    pub async fn hung_up(&self) {
        self.process.closed(StandardStream::Stdin).await;
    }

    /// Writes all of `data`, as fast as the process reads. False when nobody will read any more.
    pub async fn write(&mut self, mut data: &[u8]) -> io::Result<bool> {
        let Some(descriptor) = self.descriptor.clone() else {
            return Ok(false);
        };
        while !data.is_empty() {
            match write(descriptor.get_ref(), data) {
                Ok(count) => data = &data[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let over = tokio::select! {
                        ready = descriptor.writable() => {
                            ready?.clear_ready();
                            false
                        }
                        () = self.process.ended() => true,
                        () = self.hung_up() => true,
                    };
                    if over {
                        self.descriptor = None;
                        return Ok(false);
                    }
                }
                Err(Errno::PIPE | Errno::IO) => {
                    self.descriptor = None;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Closes the stream. A terminal stays open, and whoever reads it gets to its end, as if that had been typed.
    pub fn finish(mut self) {
        if let Some(terminal) = self.process.terminal() {
            let process = Arc::clone(&self.process);
            tokio::spawn(end_input(process, Arc::downgrade(&terminal)));
        }
        self.descriptor = None;
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(descriptor) = self.descriptor.take() {
            self.process.put_back(StandardStream::Stdin, descriptor);
        }
    }
}
