//! Network interfaces: virtio-net over a tap that came open, with its checksum and segmentation offloads. Packets go through the VMM, or, where
//! a descriptor of vhost-net came with the tap, by a thread of the host's kernel.
//!
//! virtio-mmio has no hot-plug, and QEMU gives a device another backend only where that is behind a hub. So a NIC that is spare is there from
//! the beginning, behind a hub of its own, to which a tap is added later. A hub carries no virtio headers: what such a NIC sends has no
//! offloads.
//!
//! A NIC of the start stands before its tap itself, and cannot get another backend. So it gets another tap behind the descriptor that the
//! backend has ([`Replacement`]): QEMU, which is told so by a command that does nothing else, sees the same number. Until then its link
//! is down, and QEMU passes nothing on in either direction: from the kernel's thread it takes the tap away, and gives it the other one as
//! the link comes up.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::fs::OFlags;
use serde_json::{Value, json};

use super::bus;
use super::place::Place;
use crate::device::{MacAddress, Nic, NicError, SpareNic, check_tap, vhost};
use crate::process::{Replacement, VmmProcess};
use crate::qemu::arguments::CommandLine;
use crate::qemu::qmp::Qmp;
use crate::vmm::{ConnectError, ControlError};

/// How long the VMM may take over one step.
const LIMIT: Duration = Duration::from_secs(10);

/// What QEMU asks of a tap that it is given (`net/tap-linux.c` of versions 7.2 to 10): which kind it is, how long its headers
/// are, and which offloads the guest's driver takes. None of them makes a tap, or gives one another name, owner or filter.
///
/// `TUNSETSTEERINGEBPF` chooses among the queues of a tap, and ours have one. It takes a program that is loaded: the VMM can load none, and
/// QEMU says by it that there is none.
const REQUESTS: [libc::Ioctl; 9] = [
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
    // As the saved state of a NIC is read, by version 10 and not by 7.2: main.
    libc::TUNSETSTEERINGEBPF,
];

/// What a NIC is without: its control queue. The guest would tell by it which frames it wants, one command for each of its addresses and
/// groups, and wait for the answer of the VMM's main loop. So it gets all that its tap has.
const WITHOUT: &str = "ctrl_vq=off,ctrl_rx=off,ctrl_rx_extra=off,ctrl_vlan=off,ctrl_mac_addr=off,ctrl_guest_offloads=off,guest_announce=off";

pub(super) fn attach(line: &mut CommandLine, place: Place, nic: &Nic) -> Result<(), NicError> {
    nic.check()?;
    let tap = nic.tap.try_clone().map_err(NicError::HandOver)?;
    let number = line.inherit(tap);
    // The place is the NIC's alone, so its name is, too.
    let transport = place.transport();
    let (id, bus, mac, mtu) = (format!("nic{transport}"), bus(place), nic.mac, nic.mtu);
    let vhost = match &nic.vhost {
        Some(vhost) => {
            line.needs.requests(vhost::REQUESTS);
            Some(line.inherit(vhost.try_clone().map_err(NicError::HandOver)?))
        }
        None => None,
    };
    line.option("-netdev", backend(&id, number, vhost));
    line.option(
        "-device",
        format!("virtio-net-device,{bus},netdev={id},mac={mac},host_mtu={mtu},{WITHOUT}"),
    );
    line.needs.requests(REQUESTS);
    let behind = Behind::Tap(Tap {
        id,
        number,
        mtu,
        connected: true,
    });
    line.nics.0.insert(nic.mac, behind);
    Ok(())
}

/// What stands behind a NIC: a tap, and, where it is not the VMM, what carries its packets.
fn backend(id: &str, tap: RawFd, vhost: Option<RawFd>) -> String {
    let vhost = vhost.map_or_else(
        || "vhost=off".to_owned(),
        |vhost| format!("vhost=on,vhostfd={vhost}"),
    );
    format!("tap,id={id},fd={tap},{vhost}")
}

pub(super) fn attach_spare(line: &mut CommandLine, place: Place, nic: SpareNic) {
    let hub = place.transport();
    let (bus, mac) = (bus(place), nic.mac);
    line.option("-netdev", format!("hubport,id=spare{hub},hubid={hub}"));
    line.option(
        "-device",
        format!("virtio-net-device,{bus},netdev=spare{hub},mac={mac},{WITHOUT}"),
    );
    line.needs.requests(REQUESTS);
    let behind = Behind::Hub {
        hub,
        connected: false,
    };
    line.nics.0.insert(nic.mac, behind);
}

/// What stands behind the NICs of a machine.
#[derive(Debug, Default)]
pub(crate) struct Nics(BTreeMap<MacAddress, Behind>);

/// What stands behind a NIC.
#[derive(Debug)]
enum Behind {
    Tap(Tap),
    /// This hub, and a tap if it is connected.
    Hub {
        hub: usize,
        connected: bool,
    },
}

/// The tap of a NIC of the start.
#[derive(Debug)]
struct Tap {
    /// QEMU's name for it.
    id: String,
    /// QEMU's descriptor.
    number: RawFd,
    /// The guest's driver takes no longer packets.
    mtu: u16,
    connected: bool,
}

impl Nics {
    /// Puts `tap` behind the first NIC that is free; one of the start before others, as it has offloads.
    pub(crate) async fn connect(
        &mut self,
        control: &Qmp,
        process: &VmmProcess,
        tap: BorrowedFd<'_>,
        mtu: u16,
    ) -> Result<MacAddress, ConnectError> {
        check_tap(tap).map_err(ConnectError::Tap)?;
        for (mac, behind) in &mut self.0 {
            if let Behind::Tap(own) = behind {
                if !own.connected && mtu <= own.mtu {
                    let refused = |source| ConnectError::Refused { mac: *mac, source };
                    replace(control, process, own.number, tap)
                        .await
                        .map_err(refused)?
                        .map_err(ConnectError::Replace)?;
                    link(control, &own.id, true).await.map_err(refused)?;
                    own.connected = true;
                    return Ok(*mac);
                }
            }
        }
        for (mac, behind) in &mut self.0 {
            if let Behind::Hub { hub, connected } = behind {
                if !*connected {
                    let done = connect(control, *hub, tap).await;
                    done.map_err(|source| ConnectError::Refused { mac: *mac, source })?;
                    *connected = true;
                    return Ok(*mac);
                }
            }
        }
        Err(ConnectError::NoSpare)
    }

    /// Makes the NIC `mac` lead nowhere.
    pub(crate) async fn disconnect(
        &mut self,
        control: &Qmp,
        mac: MacAddress,
    ) -> Result<(), ConnectError> {
        let refused = |source| ConnectError::Refused { mac, source };
        match self.0.get_mut(&mac) {
            Some(Behind::Tap(tap)) if tap.connected => {
                link(control, &tap.id, false).await.map_err(refused)?;
                tap.connected = false;
                Ok(())
            }
            Some(Behind::Hub { hub, connected }) if *connected => {
                disconnect(control, *hub).await.map_err(refused)?;
                *connected = false;
                Ok(())
            }
            _ => Err(ConnectError::Unknown(mac)),
        }
    }
}

/// Lets QEMU pass on what goes through the NIC before the tap `id`, or drop it.
async fn link(control: &Qmp, id: &str, up: bool) -> Result<(), ControlError> {
    let arguments = json!({ "name": id, "up": up });
    let set = control.execute("set_link", arguments, LIMIT);
    set.await.map(|_: Value| ())
}

/// Puts `tap` in the place of the one that QEMU has as `number`, which is closed by that.
async fn replace(
    control: &Qmp,
    process: &VmmProcess,
    number: RawFd,
    tap: BorrowedFd<'_>,
) -> Result<io::Result<()>, ControlError> {
    // How long its headers are, and which offloads it has, is said anew when the guest's driver begins.
    let file = match tap.try_clone_to_owned().and_then(never_waiting) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    process.replace_next(Some(Replacement { number, file }));
    // QEMU opens the file before all else, and that fails: nothing is saved. It does so on the thread that reads from the tap, and with
    // the lock that a vCPU has to have which writes to it: nobody uses the descriptor meanwhile.
    let arguments = json!({ "val": 0, "size": 0, "filename": Replacement::PATH });
    let answer = control.execute("pmemsave", arguments, LIMIT).await;
    match process.replace_next(None) {
        None => Ok(Ok(())),
        Some(_) => answer.map(|_| Err(io::ErrorKind::Unsupported.into())),
    }
}

/// QEMU reads from a tap until there is nothing more, and sees to it that one of the start does not wait then.
fn never_waiting(tap: OwnedFd) -> io::Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(&tap)?;
    if !flags.contains(OFlags::NONBLOCK) {
        rustix::fs::fcntl_setfl(&tap, flags | OFlags::NONBLOCK)?;
    }
    Ok(tap)
}

/// Adds `tap` to `hub`. What fails half-way is undone.
async fn connect(control: &Qmp, hub: usize, tap: BorrowedFd<'_>) -> Result<(), ControlError> {
    let (name, port) = (tap_of(hub), port_of(hub));
    let fd = json!({ "fdname": name });
    control
        .execute_with("getfd", fd.clone(), Some(tap), LIMIT)
        .await?;
    let added = json!({ "type": "tap", "id": name, "fd": name, "vhost": false });
    if let Err(error) = control.execute("netdev_add", added, LIMIT).await {
        // Unless the VMM has taken it: the first error is the one to tell.
        let _ = control.execute("closefd", fd, LIMIT).await;
        return Err(error);
    }
    let added = json!({ "type": "hubport", "id": port, "hubid": hub, "netdev": name });
    if let Err(error) = control.execute("netdev_add", added, LIMIT).await {
        let _ = delete(control, &name).await;
        return Err(error);
    }
    Ok(())
}

async fn disconnect(control: &Qmp, hub: usize) -> Result<(), ControlError> {
    // The tap in any case: it is what leads somewhere.
    let port = delete(control, &port_of(hub)).await;
    delete(control, &tap_of(hub)).await?;
    port
}

async fn delete(control: &Qmp, name: &str) -> Result<(), ControlError> {
    let deleted = control.execute("netdev_del", json!({ "id": name }), LIMIT);
    deleted.await.map(|_: Value| ())
}

fn tap_of(hub: usize) -> String {
    format!("tap{hub}")
}

fn port_of(hub: usize) -> String {
    format!("port{hub}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_go_past_the_vmm_where_the_host_lets_them() {
        assert_eq!(backend("nic3", 7, None), "tap,id=nic3,fd=7,vhost=off");
        let with = backend("nic3", 7, Some(9));
        assert_eq!(with, "tap,id=nic3,fd=7,vhost=on,vhostfd=9");
    }

    #[test]
    fn no_request_makes_or_changes_a_tap() {
        for forbidden in [
            libc::TUNSETIFF,
            libc::TUNSETPERSIST,
            libc::TUNSETOWNER,
            libc::TUNSETGROUP,
            libc::TUNSETQUEUE,
            libc::TUNATTACHFILTER,
            libc::TUNSETFILTEREBPF,
        ] {
            assert!(!REQUESTS.contains(&forbidden), "{forbidden:#x}");
        }
    }
}
