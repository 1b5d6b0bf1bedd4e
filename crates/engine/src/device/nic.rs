//! Network interfaces.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Bytes that a packet may have: the least that IPv4 asks for (RFC 791), and the most that an IP packet has.
pub const MTU: RangeInclusive<u16> = 68..=u16::MAX;

/// A network interface of the guest. The other end is a tap of the host, wherever that is: who opened it may have put it
/// into another network namespace.
#[derive(Debug, Clone)]
pub struct Nic {
    /// The tap, open (`TUNSETIFF` with `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`, one queue). One machine uses it at a time.
    pub tap: Arc<OwnedFd>,
    /// By which the guest knows it (`/sys/class/net/*/address`).
    pub mac: MacAddress,
    /// Bytes of its largest packet; the guest's driver starts with it. Within [`MTU`].
    pub mtu: u16,
    /// By which the host's kernel carries its packets ([`super::vhost::open`]); none: the VMM does. One machine uses it.
    pub vhost: Option<Arc<OwnedFd>>,
    /// It is saved with a template, with its address, and its guest uses another one: so its driver's first steps cost no start. Else it
    /// comes to a restored machine late.
    pub saved: bool,
}

/// A network interface whose tap comes while the machine runs: [`crate::Vm::connect_nic`]. It may be connected and disconnected any number of
/// times. The guest of a restored machine is not told of it before, so its driver's first steps cost no start.
#[derive(Debug, Clone, Copy)]
pub struct SpareNic {
    /// By which the guest knows it (`/sys/class/net/*/address`).
    pub mac: MacAddress,
}

/// The address of one network interface (EUI-48), as bytes: how it is written is the business of the crates above, whose own type the
/// engine, which knows none of them, cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

/// Why an address cannot be a NIC's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not the MAC address of one interface: it is empty or a group's")]
pub struct MacAddressError(String);

/// Why a NIC cannot be given to a guest.
#[derive(Debug, thiserror::Error)]
pub enum NicError {
    /// The descriptor is not a tap's.
    #[error("its descriptor is not a tap's")]
    NoTap(#[source] io::Error),
    /// The tap carries something else than the VMM speaks.
    #[error(
        "its tap must carry Ethernet frames with virtio headers (IFF_TAP, IFF_NO_PI, IFF_VNET_HDR)"
    )]
    Flags,
    /// The size of packets is out of bounds.
    #[error("its MTU must be from {low} to {high} bytes, not {0}", low = MTU.start(), high = MTU.end())]
    Mtu(u16),
    /// There are no descriptors left.
    #[error("its tap cannot be handed over")]
    HandOver(#[source] io::Error),
}

impl MacAddress {
    /// # Errors
    /// When no single interface may have that address: all zeroes, or a group's (the lowest bit of the first byte).
    pub fn new(bytes: [u8; 6]) -> Result<Self, MacAddressError> {
        let address = Self(bytes);
        if bytes == [0; 6] || bytes[0] & 1 != 0 {
            return Err(MacAddressError(address.to_string()));
        }
        Ok(address)
    }

    /// In the order in which they are sent.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl std::fmt::Display for MacAddress {
    /// As the kernel writes it: `02:00:00:00:00:01`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let separator = if index > 0 { ":" } else { "" };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}

impl Nic {
    /// Refuses what the VMM would refuse late or obscurely.
    pub(crate) fn check(&self) -> Result<(), NicError> {
        if !MTU.contains(&self.mtu) {
            return Err(NicError::Mtu(self.mtu));
        }
        check_tap(self.tap.as_fd())
    }
}

/// Refuses what is no tap, or one of which the VMM does not understand the frames.
pub(crate) fn check_tap(tap: BorrowedFd<'_>) -> Result<(), NicError> {
    // SAFETY: `ifreq` is plain data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF fills one `ifreq`, which lives across the call.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    if result < 0 {
        return Err(NicError::NoTap(io::Error::last_os_error()));
    }
    // SAFETY: TUNGETIFF fills the flags; any value is valid.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    let wanted = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if flags & (wanted | libc::IFF_TUN) == wanted {
        Ok(())
    } else {
        Err(NicError::Flags)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn addresses_are_of_one_interface() {
        let address = MacAddress::new([2, 0, 0, 0xab, 0, 1]).unwrap();
        assert_eq!(address.to_string(), "02:00:00:ab:00:01");
        assert_eq!(address.bytes(), [2, 0, 0, 0xab, 0, 1]);
        MacAddress::new([0; 6]).unwrap_err();
        MacAddress::new([0xff; 6]).unwrap_err();
        MacAddress::new([1, 0, 0x5e, 0, 0, 1]).unwrap_err();
    }

    #[test]
    fn what_is_no_tap_is_refused() {
        let mut nic = Nic {
            tap: Arc::new(File::open("/dev/null").unwrap().into()),
            mac: MacAddress::new([2; 6]).unwrap(),
            mtu: 1500,
            vhost: None,
            saved: false,
        };
        assert!(matches!(nic.check(), Err(NicError::NoTap(_))));
        nic.mtu = 67;
        assert!(matches!(nic.check(), Err(NicError::Mtu(67))));
    }
}
