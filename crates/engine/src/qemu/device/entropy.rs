//! Random numbers from the host's kernel. It needs nothing of the confinement: `getrandom` is everybody's.

use super::bus;
use super::place::Place;
use crate::qemu::arguments::CommandLine;

pub(super) fn attach(line: &mut CommandLine, place: Place) {
    line.option("-object", "rng-builtin,id=entropy");
    line.option(
        "-device",
        format!("virtio-rng-device,{},rng=entropy", bus(place)),
    );
}
