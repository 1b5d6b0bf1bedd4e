//! The machine's own NIC, as a tap in the machine's namespace.

use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Opcode, Setter};

const TUNSETIFF: Opcode = 0x4004_54ca;

#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Makes a tap in the namespace of the calling thread.
pub fn create(name: &str) -> OwnedFd {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let tap = rustix::fs::open("/dev/net/tun", flags, Mode::empty()).unwrap();
    // IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    let mut request = Request {
        name: [0; 16],
        flags: 0x0002 | 0x1000 | 0x4000,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF takes a struct ifreq, whose layout this is.
    let set = unsafe { Setter::<TUNSETIFF, Request>::new(request) };
    // SAFETY: the descriptor is that of a tun device.
    unsafe { rustix::ioctl::ioctl(&tap, set).unwrap() };
    // What it would say by itself, such as multicast reports, is not the test's.
    let done = Command::new("sysctl")
        .args(["-qw", &format!("net.ipv6.conf.{name}.accept_ra=0")])
        .status();
    assert!(done.unwrap().success());
    tap
}
