//! Taps: the network's end of a machine's NIC.

use std::ffi::c_short;
use std::io;
use std::os::fd::OwnedFd;

use container_api::chain::about;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Opcode, Updater};

/// The kernel puts the lowest free number in the place of `%d`.
const NAME: &[u8] = b"tap%d";
/// What every tap's name begins with.
pub const PREFIX: &str = "tap";
/// `linux/if_tun.h`.
const TUNSETIFF: Opcode = 0x4004_54ca;

/// `struct ifreq`, as far as `TUNSETIFF` uses it: 16 bytes of name, then a union of 24.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: c_short,
    rest: [u8; 22],
}

/// Makes a tap in the namespace of the calling thread, on no bridge: its name and the descriptor that keeps it. It carries
/// the header of virtio-net, so that checksums and segments need not be computed between machines.
///
/// # Errors
/// As `open(2)` of `/dev/net/tun` and `ioctl(2)`.
pub fn create() -> io::Result<(String, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let tap = rustix::fs::open("/dev/net/tun", flags, Mode::empty())
        .map_err(|error| about("/dev/net/tun", error.into()))?;
    let kind = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags: c_short::try_from(kind).map_err(io::Error::other)?,
        rest: [0; 22],
    };
    for (to, from) in request.name.iter_mut().zip(NAME) {
        *to = *from;
    }
    // SAFETY: TUNSETIFF reads and writes a struct ifreq, whose layout this is.
    let update = unsafe { Updater::<TUNSETIFF, Request>::new(&mut request) };
    // SAFETY: the descriptor is that of a tun device, and the argument the one of this operation.
    unsafe { rustix::ioctl::ioctl(&tap, update)? };
    let name = request.name.iter().take_while(|byte| **byte != 0);
    let name = name.map(|byte| char::from(*byte)).collect();
    Ok((name, tap))
}
