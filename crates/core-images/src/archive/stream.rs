//! Descriptors of clients as blocking streams.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};

/// A file, pipe or socket of a client. It may be in non-blocking mode, which is shared with the client and
/// therefore left alone.
#[derive(Debug)]
pub struct Stream(OwnedFd);

impl Stream {
    /// Takes over a descriptor.
    pub fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        poll(&mut [PollFd::new(&self.0, flags)], None)?;
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(self.0.as_fd(), &mut *buffer) {
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::IN)?,
                result => return Ok(result?),
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(self.0.as_fd(), bytes) {
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                result => return Ok(result?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
