//! Where each device is on the machine: the one allocator.
//!
//! A `microvm` without ACPI tables has eight virtio-mmio transports (`hw/i386/microvm.c`; the second I/O APIC, with which
//! it would have 24, needs the tables). Three are for what every machine has. The other five are for NICs, shares and disks, of
//! which each has a transport of its own while there are enough. Else NICs and shares have theirs, and of the disks those that come
//! last by their role ([`DiskRole`] is in that order) are units of one SCSI controller, for which the guest has to look
//! (`/sys/class/scsi_host/host*/scan`). The disk that the kernel boots from is never among them.
//!
//! NICs that are spare have what is left then.
//!
//! A guest knows none of this.

use crate::device::{Device, DiskRole, PlaceError};

/// Transports of the machine.
pub(super) const TRANSPORTS: usize = 8;

/// Where the registers of the first one are, how many bytes each has, and the first one's interrupt
/// (`include/hw/i386/microvm.h`, `microvm_devices_init` of `hw/i386/microvm.c`).
const REGISTERS: usize = 0xfeb0_0000;
const REGISTERS_SIZE: usize = 512;
const INTERRUPT: usize = 5;

/// The kernel's parameters for all transports, in the order in which QEMU tells of those that are not empty. A kernel that knows
/// of an empty one looks at it in vain, and again when it is told to.
pub(in crate::qemu) fn kernel_parameters() -> String {
    let parameters = (0..TRANSPORTS).rev().map(|number| {
        let (registers, interrupt) = (REGISTERS + number * REGISTERS_SIZE, INTERRUPT + number);
        format!(" virtio_mmio.device={REGISTERS_SIZE}@{registers:#x}:{interrupt}")
    });
    parameters.collect()
}

/// Console and guest channel are two ports of one device.
const SERIAL: usize = 0;
const BALLOON: usize = 1;
const ENTROPY: usize = 2;
/// How many are for NICs, shares and disks.
const FREE: usize = TRANSPORTS - 3;

/// NICs and shares that a machine has room for beside its disks, however many those are; a disk that the kernel boots from takes the
/// place of one.
pub const ROOM: usize = FREE - 1;

const CONSOLE_PORT: usize = 0;
const CHANNEL_PORT: usize = 1;

/// Most disks: a bound on descriptors, not of the machine.
pub const MAX_DISKS: usize = 64;

/// Where a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On a transport of its own.
    Transport(usize),
    /// A port of the serial device on that transport.
    Port { transport: usize, number: usize },
    /// A unit behind the SCSI controller on that transport.
    Unit { transport: usize, number: usize },
}

/// The place of each of `devices`, in their order. The same devices have the same places, in whatever order they are.
///
/// NICs, shares and disks are placed from the last transport down: the container's own disks, NICs and shares, volumes, and last the controller of
/// those disks that have none. So what is put behind a restored machine leaves what was saved where it was.
pub(super) fn allocate(devices: &[Device]) -> Result<Vec<Place>, PlaceError> {
    unique(devices)?;
    let mut roles: Vec<_> = devices.iter().filter_map(role).collect();
    roles.sort_unstable();
    let others = devices
        .iter()
        .filter(|device| matches!(device, Device::Nic(_) | Device::Share(_)))
        .count();
    let alone = disks_alone(&roles, others)?;
    let own = |role: &&DiskRole| !matches!(role, DiskRole::Volume(_));
    let own = roles[..alone].iter().filter(own).count();
    let last = TRANSPORTS - 1;
    let taken = others + alone + usize::from(alone < roles.len());
    let mut spare = taken;
    if spares(devices) > FREE - taken {
        return Err(PlaceError::NoSpare);
    }
    let mut next = own;
    let place = |device: &Device| match device {
        Device::Console { .. } => port(CONSOLE_PORT),
        Device::GuestChannel { .. } => port(CHANNEL_PORT),
        Device::Balloon => Place::Transport(BALLOON),
        Device::Entropy => Place::Transport(ENTROPY),
        Device::Nic(_) | Device::Share(_) => {
            next += 1;
            Place::Transport(last - (next - 1))
        }
        Device::SpareNic(_) => {
            spare += 1;
            Place::Transport(last - (spare - 1))
        }
        Device::Disk(disk) => {
            // It is one of them.
            let index = roles.binary_search(&disk.role).unwrap_or_default();
            if index < own {
                Place::Transport(last - index)
            } else if index < alone {
                Place::Transport(last - others - index)
            } else {
                Place::Unit {
                    transport: last - others - alone,
                    number: index - alone,
                }
            }
        }
    };
    Ok(devices.iter().map(place).collect())
}

/// Transports that `devices`, which have a place, leave.
pub(in crate::qemu) fn room_left(devices: &[Device]) -> usize {
    let Ok(places) = allocate(devices) else {
        return 0;
    };
    let taken = |number: &usize| places.iter().any(|place| place.transport() == *number);
    (TRANSPORTS - FREE..TRANSPORTS)
        .filter(|number| !taken(number))
        .count()
}

fn spares(devices: &[Device]) -> usize {
    let spare = |device: &&Device| matches!(device, Device::SpareNic(_));
    devices.iter().filter(spare).count()
}

/// Whether those of `devices` that `saved` tells of are where they would be without the others.
pub(in crate::qemu) fn keeps_places(devices: &[Device], saved: impl Fn(&Device) -> bool) -> bool {
    let before: Vec<_> = devices
        .iter()
        .filter(|device| saved(device))
        .cloned()
        .collect();
    let (Ok(places), Ok(before)) = (allocate(devices), allocate(&before)) else {
        return false;
    };
    let now = devices.iter().zip(places);
    let now = now.filter(|(device, _)| saved(device));
    now.map(|(_, place)| place).eq(before)
}

impl Place {
    /// The transport that it is on, alone or with others.
    pub(super) fn transport(self) -> usize {
        match self {
            Self::Transport(transport)
            | Self::Port { transport, .. }
            | Self::Unit { transport, .. } => transport,
        }
    }
}

const fn port(number: usize) -> Place {
    Place::Port {
        transport: SERIAL,
        number,
    }
}

/// How many of the disks with these `roles`, which are sorted, have a transport each.
fn disks_alone(roles: &[DiskRole], others: usize) -> Result<usize, PlaceError> {
    let disks = roles.len();
    let boots = roles.iter().filter(|role| **role == DiskRole::Init).count();
    // The others have a controller at least.
    let most = FREE - boots - usize::from(disks > boots);
    if disks > MAX_DISKS || others > most {
        return Err(PlaceError::Full {
            disks,
            limit: MAX_DISKS,
            others,
            most,
        });
    }
    let left = FREE - others;
    Ok(if disks <= left { disks } else { left - 1 })
}

fn role(device: &Device) -> Option<DiskRole> {
    match device {
        Device::Disk(disk) => Some(disk.role),
        _ => None,
    }
}

fn unique(devices: &[Device]) -> Result<(), PlaceError> {
    let names: Vec<_> = devices.iter().map(Device::name).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(PlaceError::Twice(name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;
    use crate::device::{Disk, MacAddress, Nic, SpareNic};

    fn disk(role: DiskRole) -> Device {
        Device::Disk(Disk::empty(role, 512, true))
    }

    fn nic(number: u8) -> Device {
        Device::Nic(Nic {
            vhost: None,
            tap: Arc::new(File::open("/dev/null").unwrap().into()),
            mac: MacAddress::new([2, 0, 0, 0, 0, number]).unwrap(),
            mtu: 1500,
            saved: false,
        })
    }

    fn machine(disks: &[DiskRole], nics: u8) -> Vec<Device> {
        let mut devices = vec![
            Device::Entropy,
            Device::Balloon,
            Device::Console { record: None },
            Device::GuestChannel { name: "c".into() },
        ];
        devices.extend(disks.iter().copied().map(disk));
        devices.extend((0..nics).map(nic));
        devices
    }

    const CONTAINER: [DiskRole; 2] = [DiskRole::Root, DiskRole::Upper];

    #[test]
    fn each_has_a_transport_while_there_are_enough() {
        let mut devices = machine(&CONTAINER, 2);
        devices.push(disk(DiskRole::Volume(7)));
        let places = allocate(&devices).unwrap();
        let transports = [2, 1, 7, 6, 5, 4, 3].map(Place::Transport);
        assert_eq!(places[..2], transports[..2]);
        assert_eq!(places[2..4], [port(0), port(1)]);
        assert_eq!(places[4..], transports[2..]);
    }

    #[test]
    fn no_place_is_given_twice_and_the_order_does_not_matter() {
        for nics in 0..=4 {
            for volumes in [0, 1, 2, 3, 40] {
                let mut roles = CONTAINER.to_vec();
                roles.extend((0..volumes).map(DiskRole::Volume));
                let mut devices = machine(&roles, nics);
                let places = allocate(&devices).unwrap();
                for (index, place) in places.iter().enumerate() {
                    assert!(!places[..index].contains(place), "{nics} {volumes}");
                    if let Place::Unit { transport, .. } = place {
                        assert!(!places.contains(&Place::Transport(*transport)));
                    }
                    if let Place::Transport(number) = place {
                        assert!(*number < TRANSPORTS);
                    }
                }
                devices.swap(4, 5);
                let other = allocate(&devices).unwrap();
                assert_eq!((other[4], other[5]), (places[5], places[4]));
            }
        }
    }

    #[test]
    fn volumes_share_a_controller_before_the_containers_own_disks_do() {
        let roles = [0, 1, 2, 3].map(DiskRole::Volume);
        let roles = [&CONTAINER[..], &roles].concat();
        let places = allocate(&machine(&roles, 1)).unwrap();
        assert_eq!(places[4..7], [7, 6, 4].map(Place::Transport));
        let unit = |number| Place::Unit {
            transport: 3,
            number,
        };
        assert_eq!(places[7..10], [unit(0), unit(1), unit(2)]);
        let crowded = allocate(&machine(&CONTAINER, 4)).unwrap();
        let unit = |number| Place::Unit {
            transport: 3,
            number,
        };
        assert_eq!(crowded[4..6], [unit(0), unit(1)]);
    }

    #[test]
    fn spare_nics_have_what_is_left() {
        let spare = |number| {
            let mac = MacAddress::new([2, 0, 0, 0, 1, number]).unwrap();
            Device::SpareNic(SpareNic { mac })
        };
        let saved = |device: &Device| !matches!(device, Device::Nic(_) | Device::SpareNic(_));
        let mut devices = machine(&CONTAINER, 1);
        assert_eq!(room_left(&devices), 2);
        devices.extend([spare(1), spare(2)]);
        let places = allocate(&devices).unwrap();
        assert_eq!(places[6..], [5, 4, 3].map(Place::Transport));
        assert!(keeps_places(&devices, saved));
        assert_eq!(room_left(&devices), 0);
        devices.push(spare(3));
        assert_eq!(allocate(&devices), Err(PlaceError::NoSpare));
        // A controller of disks takes one, too.
        let roles = [0, 1, 2, 3].map(DiskRole::Volume);
        let roles = [&CONTAINER[..], &roles].concat();
        assert_eq!(room_left(&machine(&roles, 1)), 0);
        assert_eq!(room_left(&machine(&CONTAINER, 4)), 0);
        assert_eq!(room_left(&machine(&CONTAINER, 5)), 0);
    }

    #[test]
    fn what_comes_late_leaves_what_was_saved_where_it_was() {
        let saved = |device: &Device| match device {
            Device::Disk(disk) => CONTAINER.contains(&disk.role),
            Device::Nic(_) => false,
            _ => true,
        };
        let keeps = |volumes: u32, nics| {
            let mut roles = CONTAINER.to_vec();
            roles.extend((0..volumes).map(DiskRole::Volume));
            keeps_places(&machine(&roles, nics), saved)
        };
        assert!(keeps(0, 0) && keeps(0, 1) && keeps(1, 1) && keeps(0, 3));
        // Units are behind one controller.
        assert!(keeps(40, 1));
        // The writable layer would be elsewhere.
        assert!(!keeps(1, 3) && !keeps(0, 4));
    }

    #[test]
    fn the_disk_that_the_kernel_boots_from_is_the_first() {
        let roles = [DiskRole::Root, DiskRole::Upper, DiskRole::Init];
        for nics in 0..=3 {
            let places = allocate(&machine(&roles, nics)).unwrap();
            assert_eq!(places[6], Place::Transport(TRANSPORTS - 1));
        }
    }

    #[test]
    fn there_is_room_for_so_many_nics_beside_disks() {
        let roles: Vec<_> = (0..40).map(DiskRole::Volume).collect();
        let init = [DiskRole::Root, DiskRole::Upper, DiskRole::Init];
        let room = u8::try_from(ROOM).unwrap();
        for (roles, most) in [(&CONTAINER[..], room), (&roles, room), (&init, room - 1)] {
            assert!(allocate(&machine(roles, most)).is_ok());
            assert!(allocate(&machine(roles, most + 1)).is_err());
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let error = allocate(&machine(&CONTAINER, 5)).unwrap_err();
        let expected = "the machine has no place for 2 disks and 5 NICs and shares: it takes 64 disks, and beside them 4 NICs \
                        and shares";
        assert_eq!(error.to_string(), expected);
        assert!(allocate(&machine(&[], 5)).is_ok());
        let roles: Vec<_> = (0..65).map(DiskRole::Volume).collect();
        let error = allocate(&machine(&roles, 0)).unwrap_err();
        assert!(matches!(error, PlaceError::Full { disks: 65, .. }));
        let error = allocate(&machine(&[DiskRole::Root, DiskRole::Root], 0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the machine would have the disk `root` twice"
        );
        let error = allocate(&[nic(1), nic(1)]).unwrap_err();
        assert!(matches!(error, PlaceError::Twice(name) if name.contains("02:00:00:00:00:01")));
    }
}
