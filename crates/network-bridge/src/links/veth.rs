//! The host's side of the way out: one end of a pair, whose other end is in the network's namespace.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkFlags};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use rustix::process::Pid;

use super::{Links, Route, UPLINK, is, sysctl, told};

/// Link-local addresses of both ends: a network has the same as every other, on a pair of its own.
pub const HOST_END: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The end in the network's namespace.
pub const NETWORK_END: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// What the host needs to know of the network.
#[derive(Clone, Debug)]
pub struct HostSide {
    /// Interface name on the host.
    pub name: String,
    /// Process in the network's namespace.
    pub holder: Pid,
    /// Bytes of a packet.
    pub mtu: u32,
    /// Per family: the subnet, the router to it and the host's address in it.
    pub families: Vec<HostFamily>,
}

/// One family of [`HostSide`].
#[derive(Clone, Copy, Debug)]
pub struct HostFamily {
    /// Subnet, with the length of its prefix.
    pub subnet: (IpAddr, u8),
    /// The next router to it.
    pub router: IpAddr,
    /// The host's address in it.
    pub host: IpAddr,
}

impl Links {
    /// Whether the host's interface `name` is there and up, and the host has `addresses`.
    pub async fn has_host_side(&self, name: &str, addresses: &[IpAddr]) -> io::Result<bool> {
        let Some(link) = self.find(name).await? else {
            return Ok(false);
        };
        let present = self.addresses().await?;
        let has_all = addresses.iter().all(|address| present.contains(address));
        Ok(has_all && link.header.flags.contains(LinkFlags::Up))
    }

    /// Makes the pair unless it is there, and sets the host's end up.
    pub async fn host_side(&self, side: &HostSide) -> io::Result<()> {
        let holder = side.holder.as_raw_nonzero().get().unsigned_abs();
        let peer = LinkUnspec::new_with_name(UPLINK)
            .setns_by_pid(holder)
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(side.name.clone())
            .mtu(side.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        let new = match self.handle.link().add(message).execute().await {
            Err(error) if is(&error, libc::EEXIST) => false,
            done => {
                done.map_err(told)?;
                true
            }
        };
        let name = &side.name;
        for (parameter, value) in [
            // The host's own packets to a published port of 127.0.0.1 leave by this interface.
            (format!("ipv4/conf/{name}/route_localnet"), "1"),
            (format!("ipv4/conf/{name}/send_redirects"), "0"),
            // Whatever the host does with new interfaces.
            (format!("ipv6/conf/{name}/disable_ipv6"), "0"),
            (format!("ipv6/conf/{name}/accept_ra"), "0"),
            (format!("ipv6/conf/{name}/accept_redirects"), "0"),
            (format!("ipv6/conf/{name}/accept_dad"), "0"),
        ] {
            sysctl::set(&parameter, value)?;
        }
        let index = self.index(name).await?;
        self.set(index, LinkMessageBuilder::up).await?;
        for family in &side.families {
            let length = if family.host.is_ipv4() { 32 } else { 128 };
            if family.host.is_ipv6() {
                self.address(index, (HOST_END.into(), 64)).await?;
            }
            self.address(index, (family.host, length)).await?;
            let route = Route {
                to: family.subnet,
                router: Some(family.router),
                from: Some(family.host),
            };
            match self.add_route(index, route).await {
                // It is ours, as is the interface.
                Err(error) if is(&error, libc::EEXIST) && !new => {}
                Err(error) if is(&error, libc::EEXIST) => {
                    let (subnet, length) = family.subnet;
                    let text = format!("this host has another route to {subnet}/{length}");
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
                }
                done => done.map_err(told)?,
            }
        }
        Ok(())
    }
}
