//! `--network host`: ports at which programs of the container listen, or take datagrams, are the host's, for as long as they do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use container_api::guest::{Listener, ListenersReply, ListenersRequest};
use container_api::guest_channel::Guest;
use container_api::relay;
use tokio::task::JoinHandle;

use super::keeper::Keeper;
use super::relay::Connections;
use crate::process::Process;

/// The most addresses of a container, each a descriptor of this process.
const MOST: usize = 1024;
/// The most of them for datagrams, each a stream of the guest channel for as long as it is open.
const MOST_DATAGRAMS: u32 = relay::DATAGRAM_PORTS;
/// How often it is tried again to open those that were somebody else's, or have ended.
const RETRY: Duration = Duration::from_secs(5);

/// A container's ports on the host.
#[derive(Debug)]
pub struct Ports {
    connections: Connections,
    keeper: Arc<Keeper>,
    /// Who is told what the host refuses.
    first: Arc<Process>,
    /// Closed when they are dropped from here.
    open: BTreeMap<Place, Open>,
    /// Those that the host refuses, each told of once.
    refused: BTreeSet<Place>,
}

/// Where the host takes connections or datagrams for the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    address: SocketAddr,
    /// UDP.
    datagrams: bool,
}

impl Place {
    /// The same in the container: what is at every address is at the loopback one, too.
    fn inside(self) -> SocketAddr {
        let mut to = self.address;
        if to.ip() == Ipv4Addr::UNSPECIFIED {
            to.set_ip(Ipv4Addr::LOCALHOST.into());
        } else if to.ip() == Ipv6Addr::UNSPECIFIED {
            to.set_ip(Ipv6Addr::LOCALHOST.into());
        }
        to
    }
}

#[derive(Debug)]
struct Open(JoinHandle<()>);

impl Open {
    /// Closes it, and waits until it is: another address of the same port may be the next to be opened.
    async fn close(mut self) {
        self.0.abort();
        // That it was aborted is what is expected.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ports {
    /// None, as yet.
    pub fn new(connections: Connections, keeper: Arc<Keeper>, first: Arc<Process>) -> Self {
        Self {
            connections,
            keeper,
            first,
            open: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Follows what the guest tells, until it has gone.
    pub async fn follow(mut self, guest: Guest) {
        let mut told = match guest.calls().listeners(ListenersRequest {}).await {
            Ok(reply) => reply.into_inner(),
            Err(error) => {
                tracing::warn!("the guest does not tell where it listens: {error:#}");
                return;
            }
        };
        let mut wanted = BTreeSet::new();
        loop {
            tokio::select! {
                message = told.message() => match message {
                    Ok(Some(reply)) => wanted = places(&reply),
                    _ => return,
                },
                () = tokio::time::sleep(RETRY), if self.may_change() => {}
            }
            self.change(&wanted).await;
        }
    }

    /// Without a word of the guest's: the host may take what it refused, and the stream of a UDP port may have ended.
    fn may_change(&self) -> bool {
        !self.refused.is_empty() || self.open.keys().any(|place| place.datagrams)
    }

    async fn change(&mut self, wanted: &BTreeSet<Place>) {
        let open = self.open.iter();
        // Those that have ended by themselves are opened anew.
        let gone = open.filter(|(place, open)| !wanted.contains(*place) || open.0.is_finished());
        let gone: Vec<_> = gone.map(|(place, _)| *place).collect();
        for place in gone {
            let Some(open) = self.open.remove(&place) else {
                continue;
            };
            open.close().await;
            if place.datagrams
                && let Err(error) = self.keeper.shut(place.address).await
            {
                tracing::warn!("port {} is not closed: {error}", place.address);
            }
        }
        self.refused.retain(|place| wanted.contains(place));
        for place in wanted {
            if self.open.contains_key(place) {
                continue;
            }
            match self.serve(*place).await {
                Ok(open) => {
                    self.refused.remove(place);
                    self.open.insert(*place, open);
                }
                Err(error) => {
                    if self.refused.insert(*place) {
                        self.first.note(&note(*place, &error));
                    }
                }
            }
        }
    }

    async fn serve(&self, place: Place) -> io::Result<Open> {
        let Place { address, datagrams } = place;
        let connections = self.connections.clone();
        let to = place.inside();
        let task = if datagrams {
            let open = self.open.keys().filter(|open| open.datagrams).count();
            if u32::try_from(open).is_ok_and(|open| open >= MOST_DATAGRAMS) {
                return Err(io::Error::other(format!(
                    "there are {MOST_DATAGRAMS} UDP ports of the container already"
                )));
            }
            let stream = self.keeper.datagrams(address).await?;
            tokio::spawn(connections.publish_datagrams(stream, to))
        } else {
            let listener = self.keeper.listen(address).await?;
            tokio::spawn(connections.publish_port(listener, to))
        };
        Ok(Open(task))
    }
}

/// What the container's log says of a port that the host refuses.
fn note(place: Place, error: &io::Error) -> Bytes {
    let Place { address, datagrams } = place;
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "is somebody else's already".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "is not for users other than root (ports below 1024)".to_owned()
        }
        _ => format!("cannot be opened: {error}"),
    };
    let text = format!(
        "container: network host: port {}{} of the host, at {}, {why}; the container listens there for itself alone\n",
        address.port(),
        if datagrams { "/udp" } else { "" },
        address.ip()
    );
    text.into()
}

/// The host's places for what the guest tells of: the same, and for every address of IPv6 those of IPv4 as well, unless the socket serves
/// IPv6 alone.
fn places(reply: &ListenersReply) -> BTreeSet<Place> {
    let of = |datagrams| {
        let addresses = addresses(reply, datagrams).into_iter();
        addresses.map(move |address| Place { address, datagrams })
    };
    of(false).chain(of(true)).collect()
}

fn addresses(reply: &ListenersReply, datagrams: bool) -> BTreeSet<SocketAddr> {
    let told = reply.listeners.iter().take(MOST);
    let listeners = || told.clone().filter(move |told| told.datagrams == datagrams);
    let mut addresses: BTreeSet<_> = listeners().filter_map(place).collect();
    // Beside these there is no room for every address of the family: what is for the machine itself alone is not for everybody. UDP sockets
    // of a program may share a port so.
    let own = addresses
        .iter()
        .filter(|address| address.ip().is_loopback());
    let own: BTreeSet<_> = own.map(|own| (own.is_ipv6(), own.port())).collect();
    let of_both = listeners().filter(|listener| !listener.ipv6_only);
    let everywhere = of_both
        .filter_map(place)
        .filter(|address| address.ip() == Ipv6Addr::UNSPECIFIED);
    for address in everywhere {
        if addresses.len() < MOST {
            addresses.insert((Ipv4Addr::UNSPECIFIED, address.port()).into());
        }
    }
    addresses.retain(|address| {
        !(address.ip().is_unspecified() && own.contains(&(address.is_ipv6(), address.port())))
    });
    addresses
}

/// None where the guest tells nonsense.
fn place(listener: &Listener) -> Option<SocketAddr> {
    let port @ 1.. = u16::try_from(listener.port).ok()? else {
        return None;
    };
    let other = Ipv4Addr::from(listener.other);
    let ip: IpAddr = match (listener.ipv6, listener.loopback) {
        (false, false) => Ipv4Addr::UNSPECIFIED.into(),
        (false, true) if other.is_loopback() => other.into(),
        (false, true) => Ipv4Addr::LOCALHOST.into(),
        (true, false) => Ipv6Addr::UNSPECIFIED.into(),
        (true, true) => Ipv6Addr::LOCALHOST.into(),
    };
    Some((ip, port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(port: u32, ipv6: bool, loopback: bool) -> Listener {
        Listener {
            port,
            ipv6,
            loopback,
            ..Listener::default()
        }
    }

    fn shown(listeners: Vec<Listener>) -> Vec<String> {
        let places = places(&ListenersReply { listeners });
        let shown = |place: &Place| {
            let kind = if place.datagrams { "/udp" } else { "" };
            format!("{}{kind}", place.address)
        };
        places.iter().map(shown).collect()
    }

    #[test]
    fn ports_are_at_the_addresses_where_the_container_has_them() {
        let listeners = vec![
            listener(80, false, false),
            listener(81, false, true),
            listener(82, true, false),
            listener(83, true, true),
            // Two sockets: that of IPv4 is for the machine itself alone.
            listener(84, false, true),
            listener(84, true, false),
            Listener {
                ipv6_only: true,
                ..listener(85, true, false)
            },
            Listener {
                other: 0x7f00_0035,
                ..listener(53, false, true)
            },
            // A guest can say anything.
            Listener {
                other: 0x0a00_0001,
                ..listener(86, false, true)
            },
            listener(0, false, false),
            listener(65536, false, false),
        ];
        let expected = [
            "0.0.0.0:80",
            "0.0.0.0:82",
            "127.0.0.1:81",
            "127.0.0.1:84",
            "127.0.0.1:86",
            "127.0.0.53:53",
            "[::]:82",
            "[::]:84",
            "[::]:85",
            "[::1]:83",
        ];
        assert_eq!(shown(listeners), expected);
        for (ipv6, datagrams) in [(false, false), (true, false), (true, true)] {
            let listeners = (1..5000).map(|port| Listener {
                datagrams,
                ..listener(port, ipv6, false)
            });
            assert_eq!(shown(listeners.collect()).len(), MOST);
        }
    }

    #[test]
    fn ports_of_udp_are_apart_from_those_of_tcp() {
        let datagrams = |listener| Listener {
            datagrams: true,
            ..listener
        };
        let listeners = vec![
            listener(53, false, true),
            datagrams(listener(53, false, false)),
            // A socket of a program that has every address, and one for the machine itself: that is nobody else's.
            datagrams(listener(54, false, false)),
            datagrams(listener(54, false, true)),
            datagrams(listener(55, true, false)),
        ];
        let expected = [
            "0.0.0.0:53/udp",
            "0.0.0.0:55/udp",
            "127.0.0.1:53",
            "127.0.0.1:54/udp",
            "[::]:55/udp",
        ];
        assert_eq!(shown(listeners), expected);
    }

    #[test]
    fn what_is_at_every_address_is_reached_at_the_loopback_one() {
        for (address, inside) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("127.0.0.2:80", "127.0.0.2:80"),
            ("[::]:80", "[::1]:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            let place = Place {
                address: address.parse().unwrap(),
                datagrams: false,
            };
            assert_eq!(place.inside().to_string(), inside);
        }
    }

    #[test]
    fn a_port_that_is_taken_is_told_of() {
        for (datagrams, words) in [(false, "port 80 of the host"), (true, "port 80/udp of the")] {
            let place = Place {
                address: ([0, 0, 0, 0], 80).into(),
                datagrams,
            };
            let taken = note(place, &io::ErrorKind::AddrInUse.into());
            let taken = String::from_utf8(taken.into()).unwrap();
            assert!(
                taken.contains(words) && taken.contains("somebody else's"),
                "{taken}"
            );
        }
    }
}
