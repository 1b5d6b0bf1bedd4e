//! Interfaces, addresses and routes of a namespace (rtnetlink(7)).

pub mod asked;
mod bridge;
pub mod sysctl;
pub mod tap;
pub mod veth;
pub mod watch;

use std::io;
use std::net::IpAddr;

use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};

use crate::namespace::inside::Link;

/// The bridge's interface.
pub const BRIDGE: &str = "bridge";
/// The way out, in the network's namespace.
pub const UPLINK: &str = "uplink";

/// The namespace that the process was in when this was opened.
#[derive(Clone, Debug)]
pub struct Links {
    handle: Handle,
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// What made it: `bridge`, `veth` and the like; none for a network card.
    pub kind: Option<String>,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug)]
struct Route {
    /// Network, with the length of its prefix.
    to: (IpAddr, u8),
    /// The next router; none: it is on the link.
    router: Option<IpAddr>,
    /// The address that packets of this host's own are from.
    from: Option<IpAddr>,
}

impl Links {
    /// Of the namespace that the calling thread is in.
    ///
    /// # Errors
    /// As `socket(2)`.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Removes an interface, if it is there.
    pub async fn remove(&self, name: &str) -> io::Result<()> {
        let Some(link) = self.find(name).await? else {
            return Ok(());
        };
        match self.handle.link().del(link.header.index).execute().await {
            Err(error) if is(&error, libc::ENODEV) => Ok(()),
            done => done.map_err(told),
        }
    }

    /// All interfaces.
    pub async fn list(&self) -> io::Result<Vec<Link>> {
        let bridge = self.find(BRIDGE).await?.map(|link| link.header.index);
        let links = self.handle.link().get().execute();
        links
            .map_ok(|link| describe(&link, bridge))
            .try_collect()
            .await
            .map_err(told)
    }

    /// All interfaces, with what they are.
    pub async fn kinds(&self) -> io::Result<Vec<Kind>> {
        let links = self.handle.link().get().execute();
        links
            .map_ok(|link| kind(&link))
            .try_collect()
            .await
            .map_err(told)
    }

    /// The addresses of all interfaces.
    pub async fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        let mut messages = Box::pin(self.handle.address().get().execute());
        while let Some(message) = messages.try_next().await.map_err(told)? {
            for attribute in message.attributes {
                // On a link between two the first is the other's.
                if let AddressAttribute::Address(address) | AddressAttribute::Local(address) =
                    attribute
                {
                    found.push(address);
                }
            }
        }
        Ok(found)
    }

    async fn find(&self, name: &str) -> io::Result<Option<LinkMessage>> {
        let mut found = Box::pin(self.handle.link().get().match_name(name).execute());
        match found.next().await {
            Some(Ok(link)) => Ok(Some(link)),
            None => Ok(None),
            Some(Err(error)) if is(&error, libc::ENODEV) => Ok(None),
            Some(Err(error)) => Err(told(error)),
        }
    }

    async fn index(&self, name: &str) -> io::Result<u32> {
        let link = self.find(name).await?;
        let absent = || io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}"));
        Ok(link.ok_or_else(absent)?.header.index)
    }

    /// Sets what `change` says of the interface with that index.
    async fn set(
        &self,
        index: u32,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> io::Result<()> {
        let message = change(LinkUnspec::new_with_index(index)).build();
        self.handle
            .link()
            .set(message)
            .execute()
            .await
            .map_err(told)
    }

    /// Gives an address, at once usable: nobody else on the link may have it.
    async fn address(&self, index: u32, (address, prefix): (IpAddr, u8)) -> io::Result<()> {
        let mut request = self.handle.address().add(index, address, prefix).replace();
        let message = request.message_mut();
        if address.is_ipv6() {
            let flags = AddressFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        request.execute().await.map_err(told)
    }

    /// Sets a route, in the place of one to the same network.
    async fn route(&self, index: u32, route: Route) -> io::Result<()> {
        let message = route.message(index)?;
        let request = self.handle.route().add(message).replace();
        request.execute().await.map_err(told)
    }

    /// Adds a route where there is none to the same network.
    async fn add_route(&self, index: u32, route: Route) -> Result<(), rtnetlink::Error> {
        let message = route
            .message(index)
            .map_err(|_| rtnetlink::Error::RequestFailed)?;
        self.handle.route().add(message).execute().await
    }
}

impl Route {
    fn message(self, index: u32) -> io::Result<RouteMessage> {
        let (to, prefix) = self.to;
        let mut builder = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to, prefix)
            .map_err(invalid)?
            .output_interface(index);
        builder = match self.router {
            Some(router) => builder.gateway(router).map_err(invalid)?.onlink(),
            None => builder.scope(RouteScope::Link),
        };
        if let Some(from) = self.from {
            builder = builder.pref_source(from).map_err(invalid)?;
        }
        Ok(builder.build())
    }
}

fn describe(link: &LinkMessage, bridge: Option<u32>) -> Link {
    let mut described = Link {
        name: String::new(),
        on_bridge: false,
        from_machine: (0, 0),
        to_machine: (0, 0),
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => described.name.clone_from(name),
            LinkAttribute::Controller(index) => described.on_bridge = Some(*index) == bridge,
            // What a tap receives its machine has sent.
            LinkAttribute::Stats64(stats) => {
                described.from_machine = (stats.rx_bytes, stats.rx_packets);
                described.to_machine = (stats.tx_bytes, stats.tx_packets);
            }
            _ => {}
        }
    }
    described
}

fn kind(link: &LinkMessage) -> Kind {
    let mut found = Kind {
        name: String::new(),
        kind: None,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name.clone_from(name),
            LinkAttribute::LinkInfo(infos) => {
                found.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    found
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

/// Whether the kernel answered with that number.
fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}

fn told(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
