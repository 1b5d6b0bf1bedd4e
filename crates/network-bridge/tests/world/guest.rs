//! A machine without a machine: a namespace whose NIC is the other side of the network's tap.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use container_api::network::Addresses;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::namespace::{Namespace, enter};

/// Bytes before each frame: `struct virtio_net_hdr`.
pub const HEADER: usize = 10;

/// A container's machine on a network.
pub struct Guest {
    pub namespace: Namespace,
    pub addresses: Addresses,
    /// The network's tap, as the VMM holds it: what is written is what a hostile machine sends.
    pub tap: File,
    ended: Arc<AtomicBool>,
    copying: Option<JoinHandle<()>>,
}

impl Guest {
    /// Puts a machine behind `tap`, with `addresses` on its NIC `eth0` as vminitd would set them.
    pub fn start(tap: OwnedFd, addresses: Addresses) -> Self {
        let namespace = Namespace::new();
        let tap = File::from(tap);
        let ended = Arc::new(AtomicBool::new(false));
        let nic = namespace.run(|| File::from(super::tap::create("eth0")));
        let copying = copy(
            tap.try_clone().unwrap(),
            nic,
            ended.clone(),
            namespace.pid(),
        );
        let guest = Self {
            namespace,
            addresses,
            tap,
            ended,
            copying: Some(copying),
        };
        guest.set_up();
        guest
    }

    fn set_up(&self) {
        let addresses = &self.addresses;
        let namespace = &self.namespace;
        namespace.sh(&format!(
            "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad;
             ip link set eth0 address {} mtu {} up",
            addresses.mac, addresses.mtu
        ));
        if !addresses.ipv4.is_empty() {
            namespace.sh(&format!("ip address add {} dev eth0", addresses.ipv4));
            namespace.sh(&format!("ip route add default via {}", addresses.gateway));
        }
        if !addresses.ipv6.is_empty() {
            namespace.sh(&format!("ip address add {} dev eth0 nodad", addresses.ipv6));
            namespace.sh(&format!("ip route add default via {}", addresses.gateway6));
        }
    }

    pub fn ipv4(&self) -> &str {
        self.addresses.ipv4.split('/').next().unwrap()
    }

    pub fn ipv6(&self) -> &str {
        self.addresses.ipv6.split('/').next().unwrap()
    }

    /// Whether an address answers, on a host that may be busy.
    pub fn pings(&self, address: &str) -> bool {
        self.hears(address, 8)
    }

    /// Whether nothing comes back within a second.
    pub fn hears_nothing_of(&self, address: &str) -> bool {
        !self.hears(address, 1)
    }

    fn hears(&self, address: &str, seconds: u32) -> bool {
        let line = format!("busybox ping -c 1 -W {seconds} -q {address}");
        self.namespace.try_sh(&line).1
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.copying.take().map(JoinHandle::join);
    }
}

/// Carries frames both ways until it is told to end.
fn copy(tap: File, nic: File, ended: Arc<AtomicBool>, pid: u32) -> JoinHandle<()> {
    std::thread::spawn(move || {
        enter(pid);
        let mut frame = vec![0; 1 << 17];
        while !ended.load(Ordering::Relaxed) {
            let mut polled =
                [&tap, &nic].map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN));
            let soon = Timespec::try_from(Duration::from_millis(50)).unwrap();
            if poll(&mut polled, Some(&soon)).is_err() {
                continue;
            }
            for (mut from, mut to) in [(&tap, &nic), (&nic, &tap)] {
                while let Ok(length) = from.read(&mut frame) {
                    // A NIC that is down takes nothing.
                    let _ = to.write(&frame[..length]);
                }
            }
        }
    })
}
