//! Packets to the host's address that wait for a word of the network's process.
//!
//! A connection that the kernel takes can only be reset. So its first packet is led to a process first, by an interface of its own, which gives
//! it back when the host has somebody for it, or gives it to another interface, from which all is refused. Datagrams are led
//! to a socket in the namespace, whatever port they are for. Both ways are of routes that packets with a mark have.

use std::io;
use std::net::IpAddr;

use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{LinkMessageBuilder, RouteMessageBuilder};

use super::{Links, Route, invalid, is, sysctl, told};
use crate::namespace::inside::HostAddresses;

/// What is read from it waits for a word; what is written to it goes on.
pub const ASKED: &str = "asked";
/// What is written to it is refused.
pub const REFUSED: &str = "refused";
/// The mark of packets that wait for a word, and the table with their route.
pub const WAITING: u32 = 1;
/// The mark of packets that are led to a socket of the namespace, and the table with their route.
pub const TAKEN: u32 = 2;

/// The interfaces have packets of other senders, and of any size.
const PARAMETERS: &[(&str, &str)] = &[
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/asked/rp_filter", "0"),
    ("ipv4/conf/refused/rp_filter", "0"),
    ("ipv6/conf/asked/accept_ra", "0"),
    ("ipv6/conf/refused/accept_ra", "0"),
];
const MTU: u32 = 65535;

impl Links {
    /// Leads packets with a mark to [`ASKED`] and to the namespace itself. Both interfaces are there.
    pub async fn lead(&self, host: &HostAddresses) -> io::Result<()> {
        sysctl::set_all(PARAMETERS)?;
        for name in [ASKED, REFUSED] {
            let index = self.index(name).await?;
            self.set(index, |link: LinkMessageBuilder<_>| link.mtu(MTU).up())
                .await?;
        }
        let (asked, loopback) = (self.index(ASKED).await?, self.index("lo").await?);
        for address in &host.addresses {
            let length = if address.is_ipv4() { 32 } else { 128 };
            let route = |index| {
                let builder = RouteMessageBuilder::<IpAddr>::new();
                let builder = builder.destination_prefix(*address, length);
                Ok::<_, io::Error>(builder.map_err(invalid)?.output_interface(index))
            };
            let waiting = route(asked)?.table_id(WAITING).scope(RouteScope::Link);
            let taken = route(loopback)?.table_id(TAKEN).scope(RouteScope::Host);
            for message in [waiting.build(), taken.kind(RouteType::Local).build()] {
                let request = self.handle.route().add(message).replace();
                request.execute().await.map_err(told)?;
            }
            for table in [WAITING, TAKEN] {
                self.mark(table, address.is_ipv6()).await?;
            }
            if host.are_nowhere_else {
                let alone = Route {
                    to: (*address, length),
                    router: None,
                    from: None,
                };
                self.route(asked, alone).await?;
            }
        }
        Ok(())
    }

    /// Packets with a mark have the routes of the table of the same number.
    async fn mark(&self, table: u32, ipv6: bool) -> io::Result<()> {
        let rule = self.handle.rule().add().fw_mark(table).table_id(table);
        let rule = rule.priority(table).action(RuleAction::ToTable);
        let added = if ipv6 {
            rule.v6().execute().await
        } else {
            rule.v4().execute().await
        };
        match added {
            Err(error) if is(&error, libc::EEXIST) => Ok(()),
            done => done.map_err(told),
        }
    }
}
