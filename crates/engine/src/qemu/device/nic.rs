//! Network interfaces: virtio-net over a tap that came open, with its checksum and segmentation offloads. Packets go
//! through the VMM (no vhost): the kernel's worker would need the guest's memory and a device that many hosts don't permit.

use super::bus;
use super::place::Place;
use crate::device::{Nic, NicError};
use crate::qemu::arguments::CommandLine;

/// What QEMU asks of a tap that it is given (`net/tap-linux.c` of versions 7.2 to 10): which kind it is, how long its headers
/// are, and which offloads the guest's driver takes. None of them makes a tap, or gives one another name, owner or filter.
const REQUESTS: [libc::Ioctl; 8] = [
    // As it starts: main.
    libc::TUNGETIFF,
    libc::TUNGETFEATURES,
    libc::TUNGETVNETHDRSZ,
    libc::TUNSETSNDBUF,
    // When the guest's driver has decided, at any time: main, vCPU.
    libc::TUNSETOFFLOAD,
    libc::TUNSETVNETHDRSZ,
    libc::TUNSETVNETLE,
    libc::TUNSETVNETBE,
];

pub(super) fn attach(line: &mut CommandLine, place: Place, nic: &Nic) -> Result<(), NicError> {
    nic.check()?;
    let tap = nic.tap.try_clone().map_err(NicError::HandOver)?;
    let number = line.inherit(tap);
    // The place is the NIC's alone, so its name is, too.
    let transport = place.transport();
    let (id, bus, mac, mtu) = (format!("nic{transport}"), bus(place), nic.mac, nic.mtu);
    line.option("-netdev", format!("tap,id={id},fd={number},vhost=off"));
    line.option(
        "-device",
        format!("virtio-net-device,{bus},netdev={id},mac={mac},host_mtu={mtu}"),
    );
    line.needs.requests(REQUESTS);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_makes_or_changes_a_tap() {
        for forbidden in [
            libc::TUNSETIFF,
            libc::TUNSETPERSIST,
            libc::TUNSETOWNER,
            libc::TUNSETGROUP,
            libc::TUNSETQUEUE,
            libc::TUNATTACHFILTER,
            libc::TUNSETSTEERINGEBPF,
            libc::TUNSETFILTEREBPF,
        ] {
            assert!(!REQUESTS.contains(&forbidden), "{forbidden:#x}");
        }
    }
}
