//! What the kernel says of its routes and rules (rtnetlink(7)).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::Route;

/// Families whose routes matter.
const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];
/// The most routes that are looked at.
const MOST: usize = 100_000;
/// In the place of an interface, for what leads to none, as `/proc/net/route` has it.
const NOWHERE: &str = "*";

/// The host's routes, its own addresses among them, of the tables that its rules lead to.
pub(super) fn routes() -> io::Result<Vec<Route>> {
    let mut found = Vec::new();
    for family in FAMILIES {
        // A host without the family has neither.
        let Ok(tables) = tables(family) else { continue };
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        for answer in ask(RouteNetlinkMessage::GetRoute(request))? {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                let is_led_to = tables.contains(&table(&route));
                found.extend(parse(&route).filter(|_| is_led_to));
            }
        }
    }
    Ok(found)
}

/// The tables that rules of the family lead to.
fn tables(family: AddressFamily) -> io::Result<BTreeSet<u32>> {
    let mut request = RuleMessage::default();
    request.header.family = family;
    let answers = ask(RouteNetlinkMessage::GetRule(request))?;
    let tables = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewRule(rule) if rule.header.action == RuleAction::ToTable => {
            let long = rule
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    RuleAttribute::Table(table) => Some(*table),
                    _ => None,
                });
            Some(long.unwrap_or(rule.header.table.into()))
        }
        _ => None,
    });
    Ok(tables.collect())
}

fn table(route: &RouteMessage) -> u32 {
    let long = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        });
    long.unwrap_or(route.header.table.into())
}

fn parse(route: &RouteMessage) -> Option<Route> {
    let leads_away = matches!(
        route.header.kind,
        RouteType::Unicast | RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit
    );
    let is_own = route.header.kind == RouteType::Local;
    let mut address = match route.header.address_family {
        AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut device = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => address = (*to).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => address = (*to).into(),
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::MultiPath(hops) => {
                device = device.or(hops.first().map(|hop| hop.interface_index));
            }
            _ => {}
        }
    }
    let destination = IpNet::new(address, route.header.destination_prefix_length).ok()?;
    (leads_away || is_own).then(|| Route {
        destination,
        is_own,
        device: device.and_then(name).unwrap_or_else(|| NOWHERE.to_owned()),
    })
}

/// The name of an interface.
fn name(index: u32) -> Option<String> {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::index_to_name(socket, index).ok()
}

/// All that the kernel answers.
fn ask(request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    while answers.len() < MOST {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while let Some(length) = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)) {
            // One that this program does not understand is passed over.
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
                Ok(message) => match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                },
                Err(error) => tracing::debug!("a route: {error}"),
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX).max(4);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(answers)
}
