//! `--network host`: TCP ports at which programs of the container listen are the host's, for as long as they do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use container_api::guest::{Listener, ListenersReply, ListenersRequest};
use container_api::guest_channel::Guest;
use tokio::task::JoinHandle;

use super::keeper::Keeper;
use super::relay::Connections;
use crate::process::Process;

/// The most addresses of a container, each a descriptor of this process.
const MOST: usize = 1024;
/// How often it is tried again to open those that were somebody else's.
const RETRY: Duration = Duration::from_secs(5);

/// A container's ports on the host.
#[derive(Debug)]
pub struct Ports {
    connections: Connections,
    keeper: Arc<Keeper>,
    /// Who is told what the host refuses.
    first: Arc<Process>,
    /// Closed when they are dropped from here.
    open: BTreeMap<SocketAddr, Open>,
    /// Those that the host refuses, each told of once.
    refused: BTreeSet<SocketAddr>,
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
                    Ok(Some(reply)) => wanted = addresses(&reply),
                    _ => return,
                },
                () = tokio::time::sleep(RETRY), if !self.refused.is_empty() => {}
            }
            self.change(&wanted).await;
        }
    }

    async fn change(&mut self, wanted: &BTreeSet<SocketAddr>) {
        let open = self.open.keys().copied();
        let gone: Vec<_> = open.filter(|address| !wanted.contains(address)).collect();
        for address in gone {
            if let Some(open) = self.open.remove(&address) {
                open.close().await;
            }
        }
        self.refused.retain(|address| wanted.contains(address));
        for address in wanted {
            if self.open.contains_key(address) {
                continue;
            }
            match self.keeper.listen(*address).await {
                Ok(listener) => {
                    self.refused.remove(address);
                    let serve = self.connections.clone();
                    let serve = serve.publish_port(listener, address.is_ipv6());
                    self.open.insert(*address, Open(tokio::spawn(serve)));
                }
                Err(error) => {
                    if self.refused.insert(*address) {
                        self.first.note(&note(*address, &error));
                    }
                }
            }
        }
    }
}

/// What the container's log says of a port that the host refuses.
fn note(address: SocketAddr, error: &io::Error) -> Bytes {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "is somebody else's already".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "is not for users other than root (ports below 1024)".to_owned()
        }
        _ => format!("cannot be opened: {error}"),
    };
    let text = format!(
        "container: network host: port {} of the host, at {}, {why}; the container listens there for itself alone\n",
        address.port(),
        address.ip()
    );
    text.into()
}

/// The host's addresses for what the guest tells of: the same, and for every address of IPv6 those of IPv4 as well, unless the socket serves
/// IPv6 alone.
fn addresses(reply: &ListenersReply) -> BTreeSet<SocketAddr> {
    let listeners = || reply.listeners.iter().take(MOST).copied();
    let mut addresses: BTreeSet<_> = listeners().filter_map(place).collect();
    let of_both = listeners().filter(|listener| !listener.ipv6_only);
    let everywhere = of_both
        .filter_map(place)
        .filter(|address| address.ip() == Ipv6Addr::UNSPECIFIED);
    let ports: Vec<_> = everywhere.map(|address| address.port()).collect();
    for port in ports {
        let [all, own] = [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST].map(|ip| (ip, port).into());
        // A socket of both families leaves no room for this one, which is not for everybody.
        if addresses.len() < MOST && !addresses.contains(&own) {
            addresses.insert(all);
        }
    }
    addresses
}

/// None where the guest tells nonsense.
fn place(listener: Listener) -> Option<SocketAddr> {
    let port @ 1.. = u16::try_from(listener.port).ok()? else {
        return None;
    };
    let ip: IpAddr = match (listener.ipv6, listener.loopback) {
        (false, false) => Ipv4Addr::UNSPECIFIED.into(),
        (false, true) => Ipv4Addr::LOCALHOST.into(),
        (true, false) => Ipv6Addr::UNSPECIFIED.into(),
        (true, true) => Ipv6Addr::LOCALHOST.into(),
    };
    Some((ip, port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_at_the_addresses_where_the_container_has_them() {
        let listener = |port, ipv6, loopback| Listener {
            port,
            ipv6,
            loopback,
            ipv6_only: false,
        };
        let reply = ListenersReply {
            listeners: vec![
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
                // A guest can say anything.
                listener(0, false, false),
                listener(65536, false, false),
            ],
        };
        let shown: Vec<_> = addresses(&reply).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "0.0.0.0:80",
                "0.0.0.0:82",
                "127.0.0.1:81",
                "127.0.0.1:84",
                "[::]:82",
                "[::]:84",
                "[::]:85",
                "[::1]:83"
            ]
        );
        for ipv6 in [false, true] {
            let listeners = (1..5000).map(|port| listener(port, ipv6, false)).collect();
            assert_eq!(addresses(&ListenersReply { listeners }).len(), MOST);
        }
    }

    #[test]
    fn a_port_that_is_taken_is_told_of() {
        let taken = note(([0, 0, 0, 0], 80).into(), &io::ErrorKind::AddrInUse.into());
        let taken = String::from_utf8(taken.into()).unwrap();
        assert!(
            taken.contains("port 80 of the host") && taken.contains("somebody else's"),
            "{taken}"
        );
    }
}
