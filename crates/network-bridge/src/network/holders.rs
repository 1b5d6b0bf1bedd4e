//! Which container has a port of the host that another one wants.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use container_api::lock;

use super::Network;
use crate::leases::Leases;
use crate::ports::owner;
use crate::ports::published::{Protocol, Published};

/// The most networks that are looked at.
const MOST: usize = 1000;

impl Network {
    /// The container, in words, that has `at`: of this network, or of another one whose directory is beside this one's.
    pub(super) fn container_at(&self, at: SocketAddr, protocol: Protocol) -> Option<String> {
        let holds = |port: &Published| holds(port, at, protocol);
        let mut own = self.ports.iter();
        let own = own.find(|(_, open)| open.iter().any(|open| holds(&open.port)));
        if let Some((container, _)) = own {
            return Some(format!("container {container}"));
        }
        let mut neighbours = std::fs::read_dir(self.state.parent()?)
            .ok()?
            .flatten()
            .take(MOST);
        neighbours.find_map(|entry| {
            let network = entry.file_name().into_string().ok()?;
            let directory = entry.path();
            if directory == self.state || !is_served(&directory) {
                return None;
            }
            let ports = Leases::ports_in(&directory).ok()?;
            let (container, _) = ports.into_iter().find(|(_, port)| holds(port))?;
            Some(format!("container {container} on network {network}"))
        })
    }
}

/// The ports of a network without a process are nobody's.
fn is_served(directory: &Path) -> bool {
    lock::holder(&directory.join("lock")).is_ok_and(|holder| holder.is_some())
}

/// Whether `port` is what `at` can't be had for.
fn holds(port: &Published, at: SocketAddr, protocol: Protocol) -> bool {
    let all = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    let addresses = match &port.host_address {
        Some(address) => std::slice::from_ref(address),
        None => &all,
    };
    // Sockets of ours are of one family.
    let mut held = addresses
        .iter()
        .filter(|address| address.is_ipv4() == at.is_ipv4());
    port.protocol == protocol
        && held.any(|address| owner::overlap(SocketAddr::new(*address, port.host_port), at))
}
