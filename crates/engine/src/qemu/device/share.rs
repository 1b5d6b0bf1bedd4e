//! Shares: virtio-fs over vhost-user. QEMU hands the guest's memory and the queues to the process at the other end of the
//! socket, and has nothing to do with any request afterwards.

use super::bus;
use super::place::Place;
use crate::device::{Share, ShareError};
use crate::qemu::arguments::{CommandLine, escape};

/// Requests that may be under way at once: the most that a virtqueue on virtio-mmio holds (`VIRTQUEUE_MAX_SIZE`).
const QUEUE_SIZE: u32 = 1024;

/// What QEMU calls for such a device as it starts (`hw/virtio/vhost-user.c`): a second connection, for what the process asks of
/// the VMM. The rest is what every VMM does with a stream.
const STARTING: [i64; 1] = [libc::SYS_socketpair];

pub(super) fn attach(
    line: &mut CommandLine,
    place: Place,
    share: &Share,
) -> Result<(), ShareError> {
    share.check()?;
    let server = share.server.try_clone().map_err(ShareError::HandOver)?;
    let number = line.inherit(server);
    // The place is the share's alone, so its name is, too.
    let transport = place.transport();
    let (id, bus, tag) = (format!("share{transport}"), bus(place), escape(&share.tag));
    line.option("-chardev", format!("socket,id={id},fd={number}"));
    line.option(
        "-device",
        format!("vhost-user-fs-device,{bus},chardev={id},queue-size={QUEUE_SIZE},tag={tag}"),
    );
    line.needs.starting(STARTING);
    Ok(())
}
