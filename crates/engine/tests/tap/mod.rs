//! A tap in a network namespace that this test made: nothing else of the host is in it.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

/// The host's address on the tap, in a network of 256.
const HOST: &str = "10.77.0.1";

/// A tap, and a socket in its namespace, which lives as long as either. To be made by root.
pub fn make() -> (OwnedFd, UdpSocket) {
    // The namespace is the thread's.
    let made = std::thread::spawn(|| {
        // SAFETY: no descriptor or memory is shared that the rest of the process counts on.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        let tap = open();
        for words in [
            &["addr", "add", &format!("{HOST}/24"), "dev", "tap0"][..],
            &["link", "set", "tap0", "up"],
        ] {
            let status = Command::new("ip").args(words).status();
            assert!(status.unwrap().success(), "{words:?}");
        }
        let socket = UdpSocket::bind((HOST, 0)).unwrap();
        (tap, socket)
    });
    made.join().unwrap()
}

fn open() -> OwnedFd {
    let tap = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap();
    // SAFETY: `ifreq` is plain data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"tap0") {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap();
    // SAFETY: TUNSETIFF reads and fills one `ifreq`, which lives across the call.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    tap.into()
}
