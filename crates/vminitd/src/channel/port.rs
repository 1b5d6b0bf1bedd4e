//! Finds the channel's port and announces the guest on it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use container_api::greeting::{self, Hello};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open as open_file};
use rustix::io::{Errno, write};
use thiserror::Error;

use crate::uevent;

/// sysfs directory with one entry per virtio-serial port.
const PORTS: &str = "/sys/class/virtio-ports";
/// The kernel learns the names of ports after it has started PID 1.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the host cannot be reached.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The VMM has no such device.
    #[error("no virtio-serial port is named {}", greeting::PORT)]
    Absent,
    /// sysfs, the node or the port itself.
    #[error("cannot open the guest channel")]
    Open(#[source] io::Error),
    /// The first line.
    #[error("cannot announce the guest")]
    Hello(#[source] io::Error),
}

/// Opens the port by its name and announces the guest with `hello`. Gives the port, which never blocks.
pub fn open(hello: Hello) -> Result<OwnedFd, ChannelError> {
    let node = uevent::wait_for(PATIENCE, find)
        .map_err(ChannelError::Open)?
        .ok_or(ChannelError::Absent)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = open_file(format!("/dev/{node}"), flags, Mode::empty())
        .map_err(|error| ChannelError::Open(error.into()))?;
    let line = hello_line(hello).map_err(ChannelError::Hello)?;
    announce(&port, &line).map_err(ChannelError::Hello)?;
    Ok(port)
}

/// Name of the port's device node, as soon as the kernel knows it.
fn find() -> io::Result<Option<String>> {
    let entries = match fs::read_dir(PORTS) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim_end() == greeting::PORT {
            return Ok(entry.file_name().into_string().ok());
        }
    }
    Ok(None)
}

fn hello_line(hello: Hello) -> io::Result<String> {
    let line = format!("{}{}\n", greeting::MAGIC, serde_json::to_string(&hello)?);
    if line.len() > greeting::LIMIT {
        return Err(io::Error::other("the hello line is too long"));
    }
    Ok(line)
}

/// A write is taken whole or not at all; not at all while the host's side is closed.
fn announce(port: &OwnedFd, line: &str) -> io::Result<()> {
    loop {
        match write(port, line.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(port, PollFlags::OUT)], None)?;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_one_short_line() {
        let hello = Hello { pid1_ns: u64::MAX };
        let line = hello_line(hello).unwrap();
        assert!(line.len() <= greeting::LIMIT);
        assert_eq!(line.matches('\n').count(), 1);
        let json = line.strip_prefix(greeting::MAGIC).unwrap();
        assert_eq!(serde_json::from_str::<Hello>(json).unwrap(), hello);
    }
}
