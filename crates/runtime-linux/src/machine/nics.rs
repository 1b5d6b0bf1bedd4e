//! Network interfaces of a machine, each with the tap that the apiserver handed over.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use container_api::{Chain, Error, Kind};
use container_engine::{Accelerator, Device, Engine, MacAddress, Nic, SpareNic, VmSpec, vhost};
use container_resource::bundle::Interface;
use container_resource::mac_address;

/// Spare NICs that a machine gets at most.
const MOST_SPARE: u8 = 2;
/// Their addresses, but for the last byte, by which nothing is sent: an interface gets its container's own. None of them is that of the NIC that
/// is saved ([`Interface::save`]).
const SPARE: [u8; 6] = [2, 0, 0, 0, 1, 0];

/// Adds NICs for networks that come later to a machine that is restored, as far as there is place. One without a network keeps none.
pub fn add_spare(engine: &Engine, spec: &mut VmSpec) {
    if spec.nics().next().is_none() {
        return;
    }
    let room = engine.room_for_spare_nics(spec).min(MOST_SPARE.into());
    let spare = (1..=MOST_SPARE).take(room).filter_map(|number| {
        let mut address = SPARE;
        address[5] = number;
        MacAddress::new(address).ok()
    });
    spec.devices
        .extend(spare.map(|mac| Device::SpareNic(SpareNic { mac })));
}

/// The device of each of `interfaces`, whose taps are `taps`, for a machine under `accelerator`.
pub fn nics(
    interfaces: &[Interface],
    taps: Vec<OwnedFd>,
    accelerator: Accelerator,
) -> Result<Vec<Device>, Error> {
    if interfaces.len() != taps.len() {
        let text = format!(
            "{} network interfaces were asked for, and {} taps handed over",
            interfaces.len(),
            taps.len()
        );
        return Err(Error::new(Kind::Internal, text));
    }
    let nic = |(interface, tap): (&Interface, OwnedFd)| {
        let mac = mac(&interface.device_mac)?;
        Ok(Device::Nic(Nic {
            tap: Arc::new(tap),
            mac,
            mtu: mtu(interface.mtu)?,
            vhost: vhost(accelerator),
            saved: interface.is_saved,
        }))
    };
    interfaces.iter().zip(taps).map(nic).collect()
}

/// What carries a NIC's packets past the VMM, where this host has it. Under TCG nothing would be won.
fn vhost(accelerator: Accelerator) -> Option<Arc<OwnedFd>> {
    if accelerator != Accelerator::Kvm {
        return None;
    }
    match vhost::open(Path::new(vhost::PATH)) {
        Ok(descriptor) => Some(Arc::new(descriptor)),
        Err(error) => {
            tracing::debug!("{}: {}", vhost::PATH, Chain(&error));
            None
        }
    }
}

/// Bytes of a packet.
pub fn mtu(bytes: u32) -> Result<u16, Error> {
    u16::try_from(bytes).map_err(|_| {
        let text = format!("an MTU of {bytes} bytes is too large");
        Error::new(Kind::InvalidArgument, text)
    })
}

/// `xx:xx:xx:xx:xx:xx`.
pub fn mac(text: &str) -> Result<MacAddress, Error> {
    let invalid = || {
        let text = format!("invalid MAC address {text:?}");
        Error::new(Kind::InvalidArgument, text)
    };
    let address: mac_address::MacAddress = text.parse().map_err(|_| invalid())?;
    MacAddress::new(address.bytes()).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_one_interface() {
        assert_eq!(mac("f2:00:00:00:00:01").unwrap().bytes()[0], 0xf2);
        for text in [
            "",
            "f2:00",
            "f2:00:00:00:00:01:02",
            "ff:ff:ff:ff:ff:ff",
            "x",
        ] {
            assert!(mac(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_interface_has_a_tap() {
        let tap = std::fs::File::open("/dev/null").unwrap().into();
        assert!(nics(&[], vec![tap], Accelerator::Software).is_err());
        assert!(
            nics(&[], Vec::new(), Accelerator::Software)
                .unwrap()
                .is_empty()
        );
    }
}
