//! Taps: the network's end of a machine's NIC.

use std::ffi::c_short;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use container_api::chain::about;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater};

/// What every tap's name begins with. A number follows.
pub const PREFIX: &str = "tap";
/// Numbers begin again from here: a name has 15 bytes.
const NUMBERS: u32 = 1_000_000;
/// How many numbers are tried: a bridge has 1024 ports.
const TRIES: u32 = 4096;
/// The next number. Each name is another one: rules of a tap that went may still be there for a moment.
static NEXT: AtomicU32 = AtomicU32::new(0);
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
    let tap = device()?;
    let kind = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let kind = c_short::try_from(kind).map_err(io::Error::other)?;
    for _ in 0..TRIES {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % NUMBERS;
        let name = format!("{PREFIX}{number}");
        match set(&tap, &name, kind) {
            // Of a process before this one.
            Err(Errno::BUSY | Errno::EXIST) => {}
            done => {
                done?;
                return Ok((name, tap));
            }
        }
    }
    Err(Errno::BUSY.into())
}

/// Makes the interface `name` in the namespace of the calling thread, whose packets, without frames, are read from and written to the descriptor.
///
/// # Errors
/// As [`create`].
pub fn packets(name: &str) -> io::Result<OwnedFd> {
    let tun = device()?;
    let kind = c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).map_err(io::Error::other)?;
    set(&tun, name, kind)?;
    Ok(tun)
}

fn device() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open("/dev/net/tun", flags, Mode::empty())
        .map_err(|error| about("/dev/net/tun", error.into()))
}

/// Makes `tap` the interface `name`.
fn set(tap: &OwnedFd, name: &str, kind: c_short) -> rustix::io::Result<()> {
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags: kind,
        rest: [0; 22],
    };
    // The last byte stays 0.
    let place = &mut request.name[..libc::IFNAMSIZ - 1];
    for (to, from) in place.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF reads and writes a struct ifreq, whose layout this is.
    let update = unsafe { Updater::<TUNSETIFF, Request>::new(&mut request) };
    // SAFETY: the descriptor is that of a tun device, and the argument the one of this operation.
    unsafe { rustix::ioctl::ioctl(tap, update) }
}
