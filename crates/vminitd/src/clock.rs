//! Time and randomness: the two things that a fresh or restored guest must be told before anything runs.

use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// Bytes of entropy that are credited at most; the kernel's pool holds 256 bits.
const ENTROPY_MAX: usize = 512;
/// `_IOW('R', 0x03, int[2])` of linux/random.h.
const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
/// `_IO('R', 0x07)` of linux/random.h.
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;

/// Nanoseconds of `CLOCK_BOOTTIME`.
pub fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// Sets `CLOCK_REALTIME`, in nanoseconds since the epoch.
pub fn set_realtime(ns: u64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).map_err(io::Error::other)?,
        tv_nsec: i64::try_from(ns % 1_000_000_000).map_err(io::Error::other)?,
    };
    Ok(clock_settime(ClockId::Realtime, time)?)
}

/// Nanoseconds of `CLOCK_REALTIME` since the epoch.
pub fn realtime_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000) + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// Moves `CLOCK_REALTIME` by `ns`: at once, or by 500 millionths of the time that passes (adjtimex(2)).
pub fn shift_realtime(ns: i64, at_once: bool) -> io::Result<()> {
    // SAFETY: numbers alone, of which all may be zero.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    if at_once {
        change.modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
        change.time.tv_sec = ns.div_euclid(1_000_000_000);
        // Nanoseconds here, as the mode says.
        change.time.tv_usec = ns.rem_euclid(1_000_000_000);
    } else {
        change.modes = libc::ADJ_OFFSET_SINGLESHOT;
        change.offset = ns / 1000;
    }
    // SAFETY: adjtimex(2) reads and writes the structure, which outlives the call.
    match unsafe { libc::adjtimex(&raw mut change) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// `struct rand_pool_info` of linux/random.h with its flexible array given a size.
#[repr(C)]
struct RandPoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; ENTROPY_MAX],
}

/// Mixes `seed` into the kernel's pool, credits it (random(4), `RNDADDENTROPY`) and reseeds at once, so that
/// two guests restored from one template never give out the same bytes.
pub fn add_entropy(seed: &[u8]) -> io::Result<()> {
    let seed = &seed[..seed.len().min(ENTROPY_MAX)];
    let bytes = libc::c_int::try_from(seed.len()).map_err(io::Error::other)?;
    let mut pool = RandPoolInfo {
        entropy_count: bytes * 8,
        buf_size: bytes,
        buf: [0; ENTROPY_MAX],
    };
    pool.buf[..seed.len()].copy_from_slice(seed);
    let device = open(
        "/dev/urandom",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // SAFETY: RNDADDENTROPY reads the two counts and `buf_size` bytes, which `pool` holds.
    check(unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY, &raw const pool) })?;
    // SAFETY: RNDRESEEDCRNG takes no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
