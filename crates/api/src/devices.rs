//! Devices that helper and guest must mean alike.

/// What every container may open, as major and minor (all where there is none) of character devices: null, zero, full,
/// random, urandom, tty, console, ptmx, `/dev/pts/*`, fuse, net/tun (Documentation/admin-guide/devices.txt), in the order in
/// which runtimes list them. The last two do nothing without a capability, in the container or in a user namespace of its own.
///
/// The guest knows the list, and so needs no filter of its own for a container that has it.
pub const USUAL: [(i64, Option<i64>); 11] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
    (10, Some(229)),
    (10, Some(200)),
];
