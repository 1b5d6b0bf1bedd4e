//! Conversations of before: they are not the next holder's of an address, nor go on under other rules.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use container_api::network::{
    AllocateRequest, AttachRequest, Egress, Port, Protocol, ReleaseRequest,
};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};
use world::guest::Guest;
use world::namespace::Namespace;
use world::{As, HOST, HOST6, Network, PATIENCE, SERVER, SERVER6, World, serve_udp};

/// The addresses that one container has after the other.
const IPV4: &str = "192.168.64.9";
const IPV6: &str = "fd00:64::9";
/// The host's address in the network.
const HOST_INSIDE: &str = "192.168.64.254";

/// The port of whoever asks, or the number of its echo requests.
const FROM: u16 = 5000;

fn at_the_addresses(network: &Network<'_>, container: &str, request: AttachRequest) -> Guest {
    let addresses = AllocateRequest {
        container: container.into(),
        ipv4: IPV4.into(),
        ipv6: IPV6.into(),
        ..AllocateRequest::default()
    };
    network.allocate(addresses).unwrap();
    let container = container.to_owned();
    let request = AttachRequest {
        container,
        ..request
    };
    let (reply, tap) = network.attach(request).unwrap();
    Guest::start(tap, reply.addresses.unwrap())
}

fn release(network: &Network<'_>, container: &str) {
    let container = container.to_owned();
    let released = network
        .call(|mut client| async move { client.release(ReleaseRequest { container }).await });
    released.unwrap();
}

fn nothing() -> AttachRequest {
    AttachRequest {
        egress: Some(Egress::default()),
        ..AttachRequest::default()
    }
}

fn udp_port(host_port: u32, container_port: u32) -> AttachRequest {
    let port = Port {
        host_port,
        container_port,
        protocol: Protocol::Udp.into(),
        ..Port::default()
    };
    AttachRequest {
        ports: vec![port],
        ..AttachRequest::default()
    }
}

/// Whether a datagram from port [`FROM`] is answered; it is sent once more where the first may have been lost.
fn is_answered(namespace: &Namespace, to: &str, times: u32) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    namespace.run(|| {
        let any: IpAddr = if to.is_ipv6() {
            [0; 16].into()
        } else {
            [0; 4].into()
        };
        let socket = UdpSocket::bind((any, FROM)).unwrap();
        socket.connect(to).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(700)))
            .unwrap();
        (0..times).any(|_| {
            let sent = socket.send(b"hello");
            sent.is_ok() && socket.recv(&mut [0; 64]).is_ok()
        })
    })
}

/// The same for an echo request with the number [`FROM`].
fn echoes(guest: &Guest, to: &str, times: u32) -> bool {
    let line = "sysctl -qw net.ipv4.ping_group_range='0 2147483647'";
    guest.namespace.sh(line);
    let to: IpAddr = to.parse().unwrap();
    guest.namespace.run(|| {
        let (family, protocol, kind, any): (_, _, u8, IpAddr) = if to.is_ipv6() {
            (AddressFamily::INET6, ipproto::ICMPV6, 128, [0; 16].into())
        } else {
            (AddressFamily::INET, ipproto::ICMP, 8, [0; 4].into())
        };
        let socket: OwnedFd =
            rustix::net::socket(family, SocketType::DGRAM, Some(protocol)).unwrap();
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(700))).unwrap();
        rustix::net::bind(&socket, &SocketAddr::new(any, FROM)).unwrap();
        rustix::net::connect(&socket, &SocketAddr::new(to, 0)).unwrap();
        (0..times).any(|_| {
            let message = [kind, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4];
            let sent = rustix::net::send(&socket, &message, SendFlags::empty());
            sent.is_ok() && rustix::net::recv(&socket, &mut [0; 64], RecvFlags::empty()).is_ok()
        })
    })
}

/// What is answered of all that a machine may say to the outside and to its host.
fn answered(guest: &Guest, times: u32) -> [bool; 5] {
    let said = |to: &str| is_answered(&guest.namespace, to, times);
    [
        said(&format!("{SERVER}:53")),
        said(&format!("[{SERVER6}]:53")),
        said(&format!("{HOST_INSIDE}:4000")),
        echoes(guest, SERVER, times),
        echoes(guest, SERVER6, times),
    ]
}

fn serve_all(world: &World) {
    serve_udp(&world.outside, &format!("{SERVER}:53"));
    serve_udp(&world.outside, &format!("[{SERVER6}]:53"));
    serve_udp(&world.host, "127.0.0.1:4000");
}

/// Rules bind from the first packet on, whatever was said before from the same address.
fn other_rules(who: As) {
    let world = World::of(who);
    serve_all(&world);
    let mut network = world.network("one", |_| ());
    let a = at_the_addresses(&network, "a", AttachRequest::default());
    let open = answered(&a, 6);
    // A user's way out may have no echo.
    assert!(
        open[0] && open[2] && (who == As::User || open == [true; 5]),
        "{open:?}"
    );
    // The next holder of the addresses.
    release(&network, "a");
    drop(a);
    let b = at_the_addresses(&network, "b", nothing());
    assert_eq!(answered(&b, 1), [false; 5]);
    // The same container, first without rules and then with some; as `network disconnect` and `network connect` do.
    network.detach("b");
    drop(b);
    let b = at_the_addresses(&network, "b", AttachRequest::default());
    assert_eq!(answered(&b, 6), open);
    network.detach("b");
    drop(b);
    let b = at_the_addresses(&network, "b", nothing());
    assert_eq!(answered(&b, 1), [false; 5]);
    // The process that should have ended them is killed.
    network.detach("b");
    drop(b);
    let b = at_the_addresses(&network, "b", AttachRequest::default());
    assert_eq!(answered(&b, 6), open);
    release(&network, "b");
    network.kill();
    drop(b);
    network.start();
    let c = at_the_addresses(&network, "c", nothing());
    assert_eq!(answered(&c, 1), [false; 5]);
    // Those of others go on meanwhile, and over such a start.
    let other = network.guest("other");
    assert!(is_answered(&other.namespace, &format!("{SERVER}:53"), 6));
    let known = || {
        network
            .sh("cat /proc/net/nf_conntrack 2>/dev/null")
            .contains(other.ipv4())
    };
    let was_known = known();
    release(&network, "c");
    drop(c);
    let d = at_the_addresses(&network, "d", nothing());
    assert_eq!((answered(&d, 1), known()), ([false; 5], was_known));
}

#[test]
fn none_goes_on_under_other_rules() {
    other_rules(As::Root);
}

#[test]
fn nor_on_a_user_s_network() {
    other_rules(As::User);
}

/// A client of a published port is not led on to whoever has the address next, nor kept from a port that opens while it sends.
fn clients(who: As) {
    let world = World::of(who);
    let network = world.network("one", |_| ());
    let own = "127.0.0.1:5300".to_owned();
    let at = [
        (&world.outside, format!("{HOST}:5300")),
        (&world.outside, format!("[{HOST6}]:5300")),
        (&world.host, own),
    ];
    let answered = |times| at.each_ref().map(|(from, to)| is_answered(from, to, times));
    let mut guest = None;
    for container in ["a", "b"] {
        let web = at_the_addresses(&network, container, udp_port(5300, 53));
        serve_udp(&web.namespace, "[::]:53");
        let begun = Instant::now();
        while answered(1) != [true; 3] {
            assert!(begun.elapsed() < PATIENCE, "{container}");
        }
        release(&network, container);
        drop(web);
        // Nobody published it: what serves there is the container's own business.
        let next = at_the_addresses(&network, "next", AttachRequest::default());
        serve_udp(&next.namespace, "[::]:53");
        assert_eq!(answered(2), [false; 3]);
        release(&network, "next");
        guest = Some(next);
    }
    drop(guest);
}

#[test]
fn a_client_of_before_does_not_reach_the_next_container() {
    clients(As::Root);
}

#[test]
fn nor_by_a_user_s_port() {
    clients(As::User);
}
