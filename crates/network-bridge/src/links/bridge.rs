//! The bridge, its ports, and the network's side of the way out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec};

use super::{BRIDGE, Links, Route, UPLINK, is, sysctl, told};
use crate::namespace::inside::{Bridge, Uplink};

/// The namespace routes between bridge and way out, and believes no router. What is bridged is filtered as frames alone.
const NAMESPACE: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    // What is refused is refused each time, not the first times alone.
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
];
/// The bridge answers at once for the host's address, which is behind the way out.
const ON_BRIDGE: &[(&str, &str)] = &[
    ("ipv4/conf/bridge/proxy_arp", "1"),
    ("ipv4/neigh/bridge/proxy_delay", "0"),
    ("ipv4/conf/bridge/send_redirects", "0"),
    ("ipv6/conf/bridge/accept_ra", "0"),
    ("ipv6/conf/bridge/proxy_ndp", "1"),
    ("ipv6/neigh/bridge/proxy_delay", "0"),
];
const ON_UPLINK: &[(&str, &str)] = &[
    ("ipv4/conf/uplink/send_redirects", "0"),
    ("ipv6/conf/uplink/accept_ra", "0"),
];

impl Links {
    /// Makes the bridge, or takes the one that is there.
    pub async fn bridge(&self, bridge: &Bridge) -> io::Result<()> {
        sysctl::set_all(NAMESPACE)?;
        // The bridge is told otherwise below, and a tap on it has no addresses: it is for the way out alone.
        let believed = if bridge.announced { "2" } else { "0" };
        sysctl::set("ipv6/conf/default/accept_ra", believed)?;
        let loopback = self.index("lo").await?;
        self.set(loopback, LinkMessageBuilder::up).await?;
        // What ports know is told by rules alone: no lists of who listens to which group.
        let message = LinkBridge::new(BRIDGE)
            .mcast_snooping(false)
            .mtu(bridge.mtu)
            .build();
        match self.handle.link().add(message).execute().await {
            Err(error) if is(&error, libc::EEXIST) => {}
            done => done.map_err(told)?,
        }
        let index = self.index(BRIDGE).await?;
        sysctl::set_all(ON_BRIDGE)?;
        // An address that is set makes the bridge keep its own, whatever ports come and go.
        let link = self.find(BRIDGE).await?;
        let own = link.and_then(|link| {
            link.attributes
                .into_iter()
                .find_map(|attribute| match attribute {
                    LinkAttribute::Address(address) => Some(address),
                    _ => None,
                })
        });
        if let Some(own) = own {
            self.set(index, |link| link.address(own)).await?;
        }
        for address in &bridge.addresses {
            self.address(index, *address).await?;
        }
        for address in bridge.proxied.iter().filter(|address| address.is_ipv6()) {
            let request = self.handle.neighbours().add(index, *address);
            let request = request.flags(NeighbourFlags::Proxy).replace();
            request.execute().await.map_err(told)?;
        }
        Ok(())
    }

    /// Puts a tap on the bridge, behind which is the hardware address `mac` alone.
    pub async fn join(&self, tap: &str, mtu: u32, mac: [u8; 6]) -> io::Result<()> {
        let bridge = self.index(BRIDGE).await?;
        let index = self.index(tap).await?;
        // It says nothing on the tap itself.
        sysctl::set(&format!("ipv6/conf/{tap}/disable_ipv6"), "1")?;
        self.set(index, |link| link.mtu(mtu).controller(bridge))
            .await?;
        // The bridge knows from the beginning who is there, and gives nobody what is for an address that it does not know.
        let port = LinkBridgePort::new(index).flood(false).build();
        let set = self.handle.link().set_port(port).execute();
        set.await.map_err(told)?;
        let known = self.handle.neighbours().add_bridge(index, &mac);
        let known = known.state(NeighbourState::Noarp);
        let known = known.flags(NeighbourFlags::Controller).replace();
        known.execute().await.map_err(told)?;
        self.set(index, LinkMessageBuilder::up).await
    }

    /// Takes a tap off the bridge and down, if it is there.
    pub async fn part(&self, tap: &str) -> io::Result<()> {
        let Some(link) = self.find(tap).await? else {
            return Ok(());
        };
        let message = LinkUnspec::new_with_index(link.header.index)
            .nocontroller()
            .down()
            .build();
        match self.handle.link().set(message).execute().await {
            Err(error) if is(&error, libc::ENODEV) => Ok(()),
            done => done.map_err(told),
        }
    }

    /// Sets addresses and routes of the way out.
    pub async fn uplink(&self, uplink: &Uplink) -> io::Result<()> {
        let index = self.index(UPLINK).await?;
        sysctl::set_all(ON_UPLINK)?;
        self.set(index, |link| link.mtu(uplink.mtu).up()).await?;
        for address in &uplink.addresses {
            self.address(index, *address).await?;
        }
        for (host, router) in &uplink.hosts {
            let (everything, length) = match host {
                IpAddr::V4(_) => (IpAddr::from(Ipv4Addr::UNSPECIFIED), 32),
                IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), 128),
            };
            // It is of the subnet, and yet not on the bridge.
            let to_host = Route {
                to: (*host, length),
                router: Some(*router).filter(|router| router != host),
                from: None,
            };
            self.route(index, to_host).await?;
            if !uplink.leads_out {
                continue;
            }
            let out = Route {
                to: (everything, 0),
                router: Some(*router),
                from: None,
            };
            self.route(index, out).await?;
        }
        Ok(())
    }
}
