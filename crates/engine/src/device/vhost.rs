//! vhost-net: a thread of the host's kernel carries a NIC's packets between its tap and the guest's memory; the VMM has no part in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Where the kernel offers it (`Documentation/admin-guide/devices.txt`).
pub const PATH: &str = "/dev/vhost-net";

/// `VHOST_VIRTIO` of `linux/vhost.h`, and the directions of `asm-generic/ioctl.h` as user space sees them.
const VHOST: u32 = 0xaf;
const NONE: u32 = 0;
const WRITE: u32 = 1;
const READ: u32 = 2;

const fn request(direction: u32, number: u32, size: u32) -> libc::Ioctl {
    (direction << 30 | size << 16 | VHOST << 8 | number) as libc::Ioctl
}

const GET_FEATURES: libc::Ioctl = request(READ, 0x00, 8);
const SET_OWNER: libc::Ioctl = request(NONE, 0x01, 0);

/// What QEMU asks of it (`hw/virtio/vhost-backend.c`, `hw/net/vhost_net.c` of versions 7.2 to 10): which memory is the guest's, where the
/// queues are, which descriptors tell of them, and which tap is behind. All of it is about the VMM's own memory and descriptors.
pub(crate) const REQUESTS: [libc::Ioctl; 20] = [
    GET_FEATURES,
    request(WRITE, 0x00, 8), // VHOST_SET_FEATURES
    SET_OWNER,
    request(WRITE, 0x03, 8),        // VHOST_SET_MEM_TABLE
    request(WRITE, 0x04, 8),        // VHOST_SET_LOG_BASE: as a machine is saved
    request(WRITE, 0x07, 4),        // VHOST_SET_LOG_FD
    request(WRITE, 0x10, 8),        // VHOST_SET_VRING_NUM
    request(WRITE, 0x11, 40),       // VHOST_SET_VRING_ADDR
    request(WRITE, 0x12, 8),        // VHOST_SET_VRING_BASE
    request(READ | WRITE, 0x12, 8), // VHOST_GET_VRING_BASE
    request(WRITE, 0x13, 8),        // VHOST_SET_VRING_ENDIAN
    request(WRITE, 0x20, 8),        // VHOST_SET_VRING_KICK
    request(WRITE, 0x21, 8),        // VHOST_SET_VRING_CALL
    request(WRITE, 0x22, 8),        // VHOST_SET_VRING_ERR
    request(WRITE, 0x23, 8),        // VHOST_SET_VRING_BUSYLOOP_TIMEOUT
    request(WRITE, 0x25, 8),        // VHOST_SET_BACKEND_FEATURES
    request(READ, 0x26, 8),         // VHOST_GET_BACKEND_FEATURES
    request(WRITE, 0x30, 8),        // VHOST_NET_SET_BACKEND
    request(READ, 0x83, 8),         // VHOST_GET_FEATURES_ARRAY
    request(WRITE, 0x83, 8),        // VHOST_SET_FEATURES_ARRAY
];

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VhostError {
    /// The kernel has it not, or its module is not loaded.
    #[error("this host has none")]
    Absent,
    /// It is for others.
    #[error("this user may not open it")]
    NoPermission,
    /// It does not open.
    #[error("it does not open")]
    Open(#[source] io::Error),
    /// It opens, and does nothing for whoever opened it.
    #[error("it is not usable here")]
    Refused(#[source] io::Error),
}

/// Opens what is at `path`, for one NIC. Another one is tried first: who has taken it over once has it for good.
///
/// # Errors
/// See [`VhostError`].
pub fn open(path: &Path) -> Result<OwnedFd, VhostError> {
    let tried = open_at(path)?;
    // SAFETY: the request has no argument.
    let taken = unsafe { libc::ioctl(tried.as_raw_fd(), SET_OWNER, 0) };
    let mut features = 0_u64;
    // SAFETY: the request fills one u64, which lives across the call.
    let told = unsafe { libc::ioctl(tried.as_raw_fd(), GET_FEATURES, &raw mut features) };
    if taken < 0 || told < 0 {
        return Err(VhostError::Refused(io::Error::last_os_error()));
    }
    drop(tried);
    open_at(path)
}

fn open_at(path: &Path) -> Result<OwnedFd, VhostError> {
    use std::os::unix::fs::OpenOptionsExt;
    // A FIFO in its place is waited for by nobody.
    let opened = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    opened
        .map(OwnedFd::from)
        .map_err(|error| match error.raw_os_error() {
            // What has a node, and no driver behind it.
            Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => VhostError::Absent,
            Some(libc::EACCES | libc::EPERM) => VhostError::NoPermission,
            _ => VhostError::Open(error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_something_else_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let nowhere = directory.path().join("vhost-net");
        assert!(matches!(open(&nowhere), Err(VhostError::Absent)));
        std::fs::write(&nowhere, b"").unwrap();
        for path in [nowhere.as_path(), Path::new("/dev/null")] {
            let error = open(path).unwrap_err();
            assert!(matches!(error, VhostError::Refused(_)), "{error}");
        }
        let error = open(directory.path()).unwrap_err();
        assert!(matches!(error, VhostError::Open(_)), "{error}");
    }

    /// By the numbers that strace prints.
    #[test]
    fn requests_have_the_kernel_s_numbers() {
        assert_eq!(GET_FEATURES, libc::Ioctl::from(0x8008_af00_u32));
        assert_eq!(SET_OWNER, 0xaf01);
        for (number, name) in [
            (0x4028_af11_u32, "VHOST_SET_VRING_ADDR"),
            (0xc008_af12, "VHOST_GET_VRING_BASE"),
            (0x4008_af30, "VHOST_NET_SET_BACKEND"),
        ] {
            assert!(REQUESTS.contains(&libc::Ioctl::from(number)), "{name}");
        }
    }
}
