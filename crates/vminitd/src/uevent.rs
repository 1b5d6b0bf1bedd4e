//! Waits for devices: by the kernel's uevents, never by polling.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// Multicast group of the kernel's own messages (1), as opposed to udev's (2).
const KERNEL: u32 = 1;

/// Calls `probe` until it finds something, again after each uevent; `None` when `limit` has passed.
pub fn wait_for<T>(
    limit: Duration,
    mut probe: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    if let Some(found) = probe()? {
        return Ok(Some(found));
    }
    let events = subscribe()?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe()? {
            return Ok(Some(found));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || !next(&events, left)? {
            return Ok(None);
        }
    }
}

fn subscribe() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let events = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        Some(KOBJECT_UEVENT),
    )?;
    bind(&events, &SocketAddrNetlink::new(0, KERNEL))?;
    Ok(events)
}

/// Waits for at least one event and takes all that are there; false when `limit` has passed first.
fn next(events: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    if poll(&mut [PollFd::new(events, PollFlags::IN)], Some(&limit))? == 0 {
        return Ok(false);
    }
    let mut message = [0_u8; 2048];
    loop {
        match recv(events, &mut message, RecvFlags::empty()) {
            // Lost messages are as good as received ones: the caller looks for itself.
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_at_once() {
        let found = wait_for(Duration::ZERO, || Ok(Some(7))).unwrap();
        assert_eq!(found, Some(7));
    }

    #[test]
    fn what_never_comes_ends_at_the_limit() {
        let mut probes = 0;
        let found = wait_for::<()>(Duration::from_millis(1), || {
            probes += 1;
            Ok(None)
        });
        assert_eq!(found.unwrap(), None);
        assert!(probes >= 2);
    }
}
