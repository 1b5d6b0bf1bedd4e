//! The balloon, for free page reporting: memory that the guest frees goes back to the host by itself.
//!
//! It needs nothing of the confinement: memory is given back by `madvise`, as any program's, or by a hole in its file, on
//! which the supervisor decides.

use super::bus;
use super::place::Place;
use crate::qemu::arguments::CommandLine;

pub(super) fn attach(line: &mut CommandLine, place: Place) {
    line.option(
        "-device",
        format!(
            "virtio-balloon-device,{},free-page-reporting=on,deflate-on-oom=on",
            bus(place)
        ),
    );
}
