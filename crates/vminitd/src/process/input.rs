//! Feeds a process's standard input.

use std::io;
use std::sync::Arc;

use container_api::streams::StandardStream;
use rustix::io::{Errno, write};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};

use super::lifetime::Process;
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
                    tokio::select! {
                            ready = descriptor.writable() => ready?.clear_ready(),
                            () = self.process.ended() => {
                        self.descriptor = None;
                        return Ok(false);
                    }
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

    /// Closes the stream. A terminal stays open, so its reader gets the end-of-file character, as if it had
    /// been typed.
    pub async fn finish(mut self) -> io::Result<()> {
        if self.process.terminal().is_some() {
            if let Some(descriptor) = self.descriptor.clone() {
                let modes = tcgetattr(descriptor.get_ref())?;
                if modes.local_modes.contains(LocalModes::ICANON) {
                    self.write(&[modes.special_codes[SpecialCodeIndex::VEOF]])
                        .await?;
                }
            }
        }
        self.descriptor = None;
        Ok(())
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(descriptor) = self.descriptor.take() {
            self.process.put_back(StandardStream::Stdin, descriptor);
        }
    }
}
