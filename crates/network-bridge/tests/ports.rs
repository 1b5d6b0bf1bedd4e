//! Published ports.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use container_api::Kind;
use container_api::network::{AllocateRequest, AskedRequest, AttachRequest, Port, Protocol};
use world::namespace::Namespace;
use world::{As, HOST, HOST6, PEER, PEER6, SERVER, World, ask, ask_udp, reached, serve, serve_udp};

fn port(host_address: &str, host_port: u32, container_port: u32, protocol: Protocol) -> Port {
    Port {
        host_address: host_address.into(),
        host_port,
        container_port,
        protocol: protocol.into(),
        ..Port::default()
    }
}

fn ports(ports: Vec<Port>) -> AttachRequest {
    AttachRequest {
        ports,
        ..AttachRequest::default()
    }
}

#[test]
fn published_ports_lead_into_an_internal_network() {
    into_an_internal_network(As::Root);
}

#[test]
fn and_a_user_s() {
    into_an_internal_network(As::User);
}

/// By them alone a user's host reaches it; the container still reaches nobody.
fn into_an_internal_network(who: As) {
    let world = World::of(who);
    let network = world.network("inner", |configuration| {
        configuration["mode"] = "hostOnly".into();
    });
    let wanted = ports(vec![port("", 8080, 80, Protocol::Tcp)]);
    let (web, _) = network.guest_with("web", wanted);
    serve(&web.namespace, "[::]:80");
    serve(&world.outside, "[::]:80");
    reached(&world.host, "127.0.0.1:8080");
    reached(&world.host, "[::1]:8080");
    reached(&world.outside, &format!("{HOST}:8080"));
    assert!(ask(&web.namespace, &format!("{SERVER}:80")).is_err());
    let directly = ask(&world.host, &format!("{}:80", web.ipv4()));
    assert_eq!(directly.is_ok(), who == As::Root, "{directly:?}");
}

#[test]
fn published_ports_lead_into_the_container() {
    let world = World::new();
    let mut network = world.network("one", |_| ());
    let (web, reply) = network.guest_with(
        "web",
        ports(vec![
            port("", 8080, 80, Protocol::Tcp),
            port("", 0, 80, Protocol::Tcp),
            port("127.0.0.1", 8081, 80, Protocol::Tcp),
            port(HOST, 1, 80, Protocol::Tcp),
            port("", 65535, 53, Protocol::Udp),
            port("", 8082, 82, Protocol::Tcp),
        ]),
    );
    let other = network.guest("other");
    let found = reply.ports[1].host_port;
    assert!(found != 0 && reply.ports[0].host_port == 8080);
    assert_eq!(network.member("web").ports, reply.ports);
    serve(&web.namespace, "[::]:80");
    serve_udp(&web.namespace, "[::]:53");
    for again in [false, true] {
        reached(&world.host, "[::1]:8080");
        // From the outside the source stays what it is.
        assert_eq!(
            ask(&world.outside, &format!("{HOST}:8080")).unwrap(),
            format!("{PEER} hello")
        );
        assert_eq!(
            ask(&world.outside, &format!("[{HOST6}]:8080")).unwrap(),
            format!("{PEER6} hello")
        );
        assert_eq!(
            ask(&world.outside, &format!("{HOST}:{found}")).unwrap(),
            format!("{PEER} hello")
        );
        assert_eq!(
            ask(&world.outside, &format!("{HOST}:1")).unwrap(),
            format!("{PEER} hello")
        );
        assert_eq!(
            ask_udp(&world.outside, &format!("{HOST}:65535")).unwrap(),
            format!("{PEER} hello")
        );
        // From the host itself, by every address of it.
        for address in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "127.0.0.1:8081",
            &format!("{HOST}:8080"),
            &format!("[{HOST6}]:8080"),
        ] {
            assert!(
                ask(&world.host, address).unwrap().ends_with(" hello"),
                "{address}"
            );
        }
        for address in ["127.0.0.1:65535", "[::1]:65535"] {
            assert!(
                ask_udp(&world.host, address).unwrap().ends_with(" hello"),
                "{address}"
            );
        }
        // From a container, its own included, by the host's address.
        for guest in [&other, &web] {
            assert!(
                ask(&guest.namespace, &format!("{HOST}:8080"))
                    .unwrap()
                    .ends_with(" hello")
            );
        }
        // Published on one address alone.
        assert_eq!(
            ask(&world.outside, &format!("{HOST}:8081"))
                .unwrap_err()
                .kind(),
            ErrorKind::ConnectionRefused
        );
        // Whoever is on the LAN may send to 127.0.0.1, and is not let in.
        world.outside.sh(&format!(
            "ip route del local 127.0.0.0/8 dev lo table local 2>/dev/null;
             ip route del local 127.0.0.1 dev lo table local 2>/dev/null;
             sysctl -qw net.ipv4.conf.all.route_localnet=1;
             ip route replace 127.0.0.1/32 via {HOST} dev lan src {PEER} onlink"
        ));
        for port in [8080, 8081] {
            assert!(ask(&world.outside, &format!("127.0.0.1:{port}")).is_err());
        }
        let tables = world.host.sh("nft list ruleset");
        let dropped = tables
            .lines()
            .find(|line| line.contains("!= \"lo\" ip daddr 127.0.0.0/8 counter packets"));
        assert!(
            dropped.is_some_and(|line| !line.contains("packets 0 ")),
            "{tables}"
        );
        // Refused stays refused where the kernel leads.
        assert_eq!(
            ask(&world.outside, &format!("{HOST}:8082"))
                .unwrap_err()
                .kind(),
            ErrorKind::ConnectionRefused
        );
        assert_eq!(
            ask(&world.host, "127.0.0.1:8082").unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        if !again {
            network.kill();
            // The kernel's part goes on meanwhile.
            assert!(ask(&world.outside, &format!("{HOST}:8080")).is_ok());
            network.start();
        }
    }
    network.detach("web");
    for address in ["127.0.0.1:8080", "[::1]:8080", &format!("{HOST}:8080")] {
        assert_eq!(
            ask(&world.host, address).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
    }
}

#[test]
fn a_taken_port_is_refused_with_its_owner_and_nothing_is_left() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let _taken = world
        .host
        .run(|| TcpListener::bind("127.0.0.1:9000").unwrap());
    let refused = |container: &str, wanted: Port| {
        let container = container.to_owned();
        let request = AllocateRequest {
            container: container.clone(),
            ..AllocateRequest::default()
        };
        network.allocate(request).unwrap();
        let request = AttachRequest {
            container: container.clone(),
            ..ports(vec![port("", 9001, 1, Protocol::Tcp), wanted])
        };
        let error = network.attach(request).unwrap_err();
        assert!(!network.member(&container).attached);
        (error.kind, error.message())
    };
    let (kind, words) = refused("a", port("", 9000, 80, Protocol::Tcp));
    assert_eq!(kind, Kind::Exists);
    assert!(
        words.contains("9000/tcp") && words.contains(&format!("process {}", std::process::id())),
        "{words}"
    );
    let (web, _) = network.guest_with("web", ports(vec![port("", 9002, 80, Protocol::Udp)]));
    let (_, words) = refused("a", port("127.0.0.1", 9002, 80, Protocol::Udp));
    assert!(
        words.contains("127.0.0.1:9002/udp") && words.contains("container web"),
        "{words}"
    );
    let (kind, words) = refused("a", port("192.0.2.1", 9003, 80, Protocol::Tcp));
    assert!(
        kind == Kind::InvalidArgument && words.contains("192.0.2.1"),
        "{words}"
    );
    let (kind, _) = refused("a", port("x", 9003, 80, Protocol::Tcp));
    assert_eq!(kind, Kind::InvalidArgument);
    // Others see that it is taken.
    assert_eq!(
        world
            .host
            .run(|| std::net::UdpSocket::bind("127.0.0.1:9002")
                .unwrap_err()
                .kind()),
        ErrorKind::AddrInUse
    );
    // What was taken on the way to the error is free again.
    drop(
        world
            .host
            .run(|| TcpListener::bind("0.0.0.0:9001").unwrap()),
    );
    drop(web);
}

/// What is in the way at the address that is wanted, of several who have the port elsewhere.
#[test]
fn the_owner_is_who_has_the_address() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let other = world.network("other", |configuration| {
        configuration["ipv4Subnet"] = "192.168.65.0/24".into();
        configuration["ipv6Subnet"] = "fd00:65::/64".into();
    });
    let request = AllocateRequest {
        container: "a".into(),
        ..AllocateRequest::default()
    };
    network.allocate(request).unwrap();
    let refused = |host_address: &str, host_port: u32, protocol| {
        let request = AttachRequest {
            container: "a".into(),
            ..ports(vec![port(host_address, host_port, 80, protocol)])
        };
        let error = network.attach(request).unwrap_err();
        assert_eq!(error.kind, Kind::Exists);
        error.message()
    };
    let process = format!("(process {})", std::process::id());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        // One address is a container's of this network, one is another program's, one a container's of another network.
        let here = ports(vec![port("127.0.0.1", 8080, 80, protocol)]);
        let (here, _) = network.guest_with("here", here);
        let there = ports(vec![port("127.0.0.3", 8080, 80, protocol)]);
        let (there, _) = other.guest_with("there", there);
        let program = world.host.run(|| match protocol {
            Protocol::Tcp => {
                std::os::fd::OwnedFd::from(TcpListener::bind("127.0.0.2:8080").unwrap())
            }
            Protocol::Udp => std::net::UdpSocket::bind("127.0.0.2:8080").unwrap().into(),
        });
        for (address, owner) in [
            ("127.0.0.1", "by container here"),
            ("127.0.0.2", process.as_str()),
            ("127.0.0.3", "by container there on network other"),
        ] {
            let words = refused(address, 8080, protocol);
            assert!(words.ends_with(owner), "{protocol:?} {address}: {words}");
        }
        drop((here, there, program));
        network.detach("here");
        other.detach("there");
        // A port of the other protocol is in nobody's way.
        let elsewhere = match protocol {
            Protocol::Tcp => Protocol::Udp,
            Protocol::Udp => Protocol::Tcp,
        };
        let (everywhere, _) =
            other.guest_with("everywhere", ports(vec![port("", 8081, 80, protocol)]));
        let words = refused("", 8081, protocol);
        assert!(
            words.ends_with("by container everywhere on network other"),
            "{words}"
        );
        let request = AttachRequest {
            container: "a".into(),
            ..ports(vec![port("", 8081, 80, elsewhere)])
        };
        drop(network.attach(request).unwrap());
        network.detach("a");
        drop(everywhere);
        other.detach("everywhere");
    }
}

/// Whoever flushes the host's rules takes away what leads to the container. The port is still held, and nobody is taken for it.
#[test]
fn a_port_refuses_while_the_host_s_rules_are_gone() {
    use rustix::process::{Pid, Signal, kill_process};

    let world = World::new();
    let network = world.network("one", |_| ());
    let request = ports(vec![
        port("", 8080, 80, Protocol::Tcp),
        port(HOST, 8081, 80, Protocol::Tcp),
        port(HOST6, 8082, 80, Protocol::Tcp),
        port("", 8083, 53, Protocol::Udp),
        port(HOST6, 8084, 53, Protocol::Udp),
    ]);
    let (web, _) = network.guest_with("web", request);
    serve(&web.namespace, "[::]:80");
    serve_udp(&web.namespace, "[::]:53");
    let at = [
        format!("{HOST}:8080"),
        format!("{HOST}:8081"),
        format!("[{HOST6}]:8082"),
    ];
    let all_reached = || at.iter().for_each(|at| reached(&world.outside, at));
    all_reached();
    // It would write them again at once.
    let process = Pid::from_raw(network.pid().try_into().unwrap()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    world.host.sh("nft flush ruleset");
    for address in &at {
        assert!(is_refused(&world.outside, address), "{address}");
        assert!(is_refused(&world.host, address), "{address}");
        let address = address.clone();
        assert!(world.host.run(|| TcpListener::bind(address).is_err()));
    }
    assert!(is_refused(&world.host, "127.0.0.1:8080"));
    // Clients who go on with one socket: they are not forgotten as long as they do.
    let [far, far6, near] = [
        (&world.outside, format!("{HOST}:8083")),
        (&world.outside, format!("[{HOST6}]:8084")),
        (&world.host, "127.0.0.1:8083".to_owned()),
    ]
    .map(|(from, to)| from.run(|| talker(&to)));
    for client in [&far, &far6, &near] {
        client.send(b"hello").unwrap();
        let error = client.recv(&mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    for port in [8080, 8081] {
        assert!(
            world
                .host
                .run(|| TcpListener::bind(("0.0.0.0", port)).is_err())
        );
    }
    for port in [8080, 8082] {
        assert!(world.host.run(|| TcpListener::bind(("::", port)).is_err()));
    }
    assert!(
        world
            .host
            .run(|| std::net::UdpSocket::bind("0.0.0.0:8083").is_err())
    );
    kill_process(process, Signal::CONT).unwrap();
    all_reached();
    for client in [&far, &far6, &near] {
        let begun = Instant::now();
        // The answer to the one before may be that nobody was there.
        while client.send(b"hello").is_err() || client.recv(&mut [0; 64]).is_err() {
            assert!(begun.elapsed() < world::PATIENCE, "{client:?}");
        }
    }
}

/// Refused stays refused: the kernel leads the one, and a process the other.
#[test]
fn a_datagram_that_nobody_takes_is_refused() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let request = ports(vec![port("", 5300, 53, Protocol::Udp)]);
    let (web, _) = network.guest_with("web", request);
    world::tried_out(&[&web.namespace]);
    let clients = ["127.0.0.1:5300", "[::1]:5300"].map(|to| world.host.run(|| talker(to)));
    for client in &clients {
        let begun = Instant::now();
        loop {
            // What was said of the one before.
            let heard = client
                .send(b"hello")
                .and_then(|_| client.recv(&mut [0; 64]));
            if heard.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
                break;
            }
            assert!(begun.elapsed() < world::PATIENCE, "{client:?}");
        }
    }
    serve_udp(&web.namespace, "[::]:53");
    for client in &clients {
        let begun = Instant::now();
        while client.send(b"hello").is_err() || client.recv(&mut [0; 64]).is_err() {
            assert!(begun.elapsed() < world::PATIENCE, "{client:?}");
        }
    }
}

/// A client of UDP that hears whom it asks, and that nobody is there.
fn talker(to: &str) -> std::net::UdpSocket {
    let any = if to.starts_with('[') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = std::net::UdpSocket::bind(any).unwrap();
    socket.connect(to).unwrap();
    let patience = Some(Duration::from_secs(2));
    socket.set_read_timeout(patience).unwrap();
    socket
}

/// Whether a connection is refused, as by a host where nobody listens.
fn is_refused(host: &Namespace, address: &str) -> bool {
    let address = address.parse().unwrap();
    let connected = host.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(2)));
    connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn refused_while_nobody_listens(who: As, addresses: &[&str]) {
    let world = World::of(who);
    let mut network = world.network("one", |_| ());
    let request = ports(vec![
        port("", 8080, 80, Protocol::Tcp),
        port("", 8081, 81, Protocol::Tcp),
    ]);
    let (web, _) = network.guest_with("web", request);
    let are_refused = || {
        addresses
            .iter()
            .all(|address| is_refused(&world.host, address))
    };
    let stay_refused = || {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(700) {
            assert!(are_refused());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let refused_at_last = || {
        let begun = Instant::now();
        while !are_refused() {
            assert!(begun.elapsed() < world::PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    stay_refused();
    // Who listens for the container itself alone is not reached from elsewhere.
    let own = ["127.0.0.1:80", "[::1]:80"];
    let own = own.map(|at| web.namespace.run(|| TcpListener::bind(at).unwrap()));
    stay_refused();
    drop(own);
    for again in [false, true] {
        let listener = web.namespace.run(|| TcpListener::bind("[::]:80").unwrap());
        for address in addresses {
            let begun = Instant::now();
            while is_refused(&world.host, address) {
                assert!(begun.elapsed() < world::PATIENCE);
                std::thread::sleep(Duration::from_millis(5));
            }
            // It is that connection, and half of it is closed.
            let (mut accepted, _) = listener.accept().unwrap();
            let mut said = String::new();
            accepted.read_to_string(&mut said).unwrap();
        }
        // That it is asked for is nothing that it sees.
        listener.set_nonblocking(true).unwrap();
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        // Another program of the host does not get the port meanwhile, whether it is open or shut.
        let taken = || world.host.run(|| TcpListener::bind("[::]:8080").is_err());
        assert!(taken());
        drop(listener);
        refused_at_last();
        stay_refused();
        assert!(taken());
        if !again {
            network.kill();
            refused_at_last();
            network.start();
            stay_refused();
        }
    }
    // The other port was no other's business.
    serve(&web.namespace, "[::]:81");
    reached(&world.host, &addresses[0].replace("8080", "8081"));
    stay_refused();
    // A container that has stopped, or is paused, answers nothing.
    network.detach("web");
    assert!(are_refused());
}

#[test]
fn nothing_is_taken_while_nobody_listens() {
    let addresses = ["127.0.0.1:8080", "[::1]:8080"];
    refused_while_nobody_listens(As::Root, &addresses);
}

#[test]
fn nor_on_a_user_s_network() {
    let by_lan = [HOST, HOST6].map(|host| SocketAddr::new(host.parse().unwrap(), 8080).to_string());
    let [ipv4, ipv6] = by_lan.each_ref().map(String::as_str);
    let addresses = ["127.0.0.1:8080", "[::1]:8080", ipv4, ipv6];
    refused_while_nobody_listens(As::User, &addresses);
}

#[test]
fn a_program_that_ends_shuts_its_port() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let request = ports(vec![port("", 8080, 80, Protocol::Tcp)]);
    let (web, _) = network.guest_with("web", request);
    let listener = web.namespace.run(|| TcpListener::bind("[::]:80").unwrap());
    let begun = Instant::now();
    while is_refused(&world.host, "[::1]:8080") {
        assert!(begun.elapsed() < world::PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    let (first, _) = listener.accept().unwrap();
    drop(first);
    let mut client = world.host.run(|| TcpStream::connect("[::1]:8080").unwrap());
    let (served, _) = listener.accept().unwrap();
    // Until it is asked for rarely.
    std::thread::sleep(Duration::from_secs(4));
    drop((listener, served));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    // Nobody else has to be taken and reset for that.
    std::thread::sleep(Duration::from_millis(600));
    assert!(is_refused(&world.host, "[::1]:8080"));
}

#[test]
fn what_a_container_is_asked_is_not_its_traffic() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let request = ports(vec![
        port("", 8080, 80, Protocol::Tcp),
        port("127.0.0.1", 8081, 81, Protocol::Tcp),
    ]);
    let (web, _) = network.guest_with("web", request);
    let asked = || {
        let container = "web".to_owned();
        let asked = network
            .call(|mut client| async move { client.asked(AskedRequest { container }).await });
        asked.unwrap().counters.unwrap()
    };
    let counted = || network.member("web").counters.unwrap();
    let is_asked = |more: u64| {
        let (before, begun) = (asked(), Instant::now());
        while asked().rx_packets < before.rx_packets + more {
            assert!(begun.elapsed() < world::PATIENCE);
            std::thread::sleep(Duration::from_millis(50));
        }
        before
    };
    // A guest that has just come tells of itself, and looks for its neighbours.
    world::tried_out(&[&web.namespace]);
    is_asked(2);
    let mut listener = None;
    for _ in 0..2 {
        let before = counted();
        let asked_before = is_asked(6);
        let after = counted();
        // No more than neighbours ask of each other, and the question of the moment.
        let close = |one: u64, other: u64, most| one.abs_diff(other) <= most;
        assert!(
            close(after.rx_packets, before.rx_packets, 4)
                && close(after.tx_packets, before.tx_packets, 4)
                && close(after.rx_bytes, before.rx_bytes, 400)
                && close(after.tx_bytes, before.tx_bytes, 400),
            "{before:?} {after:?} {asked_before:?} {:?}",
            asked()
        );
        // The same where somebody listens.
        listener.get_or_insert_with(|| web.namespace.run(|| TcpListener::bind("[::]:80").unwrap()));
    }
}

#[test]
fn a_port_that_a_process_carries_closes_by_halves_and_costs_what_is_used() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let (web, _) = network.guest_with(
        "web",
        ports(vec![
            port("", 8080, 80, Protocol::Tcp),
            port("", 5300, 53, Protocol::Udp),
        ]),
    );
    // ::1 is a process's business.
    serve(&web.namespace, "[::]:80");
    reached(&world.host, "[::1]:8080");
    // Many clients: none is lost, and what they cost is given back.
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{}/fd", network.pid()))
            .unwrap()
            .count()
    };
    let before = descriptors();
    world.host.run(|| {
        let many: Vec<TcpStream> = (0..500)
            .map(|_| TcpStream::connect("[::1]:8080").unwrap())
            .collect();
        for mut stream in many {
            stream.write_all(b"x").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with(" x"), "{answer}");
        }
    });
    // 2,000 source ports: by the kernel, and by the process.
    for address in ["127.0.0.1:5300", "[::1]:5300"] {
        world.host.run(|| {
            for _ in 0..2000 {
                let socket = std::net::UdpSocket::bind(if address.starts_with('[') {
                    "[::]:0"
                } else {
                    "0.0.0.0:0"
                })
                .unwrap();
                socket.send_to(b"x", address).unwrap();
            }
        });
    }
    serve_udp(&web.namespace, "[::]:53");
    // A socket that gets the port of one of those may hear the answer to its datagram first.
    let answered =
        || ask_udp(&world.host, "[::1]:5300").is_ok_and(|answer| answer.ends_with(" hello"));
    assert!((0..5).any(|_| answered()));
    assert!(descriptors() <= before + 1100, "{} {before}", descriptors());
    let begun = Instant::now();
    network.detach("web");
    while descriptors() > before {
        assert!(
            begun.elapsed() < world::PATIENCE,
            "{} {before}",
            descriptors()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_datagram_is_answered_from_the_address_that_it_was_for() {
    answers_come_from_where_they_are_asked(As::Root);
}

#[test]
fn nor_does_a_user_s_network_answer_from_another_one() {
    answers_come_from_where_they_are_asked(As::User);
}

/// Clients that are connected, as resolvers are, hear nothing else.
fn answers_come_from_where_they_are_asked(who: As) {
    const SECOND: [&str; 2] = ["203.0.113.3", "2001:db8:1::3"];
    const ELSEWHERE: [&str; 2] = ["198.51.100.2", "2001:db8:100::2"];
    let world = World::of(who);
    for address in SECOND.iter().chain(&ELSEWHERE) {
        let length = if address.contains(':') {
            "128 nodad"
        } else {
            "32"
        };
        world
            .host
            .sh(&format!("ip address add {address}/{length} dev lan"));
    }
    for (elsewhere, host) in ELSEWHERE.iter().zip([HOST, HOST6]) {
        world
            .outside
            .sh(&format!("ip route add {elsewhere} via {host}"));
    }
    let link_local = world
        .host
        .sh("ip -6 -o address show dev lan scope link | awk '{print $4}' | cut -d/ -f1");
    let number = world
        .outside
        .sh("cat /sys/class/net/lan/ifindex 2>/dev/null || ip -o link show lan | cut -d: -f1");
    let link_local = format!("{}%{}", link_local.trim(), number.trim());
    let mut network = world.network("one", |_| ());
    let request = ports(vec![
        port("", 5300, 53, Protocol::Udp),
        port("127.0.0.2", 5301, 53, Protocol::Udp),
        port(SECOND[0], 5302, 53, Protocol::Udp),
        port(SECOND[1], 5302, 53, Protocol::Udp),
        port("", 5303, 53, Protocol::Tcp),
    ]);
    let (web, _) = network.guest_with("web", request);
    serve_udp(&web.namespace, "[::]:53");
    serve(&web.namespace, "[::]:53");
    let at = |address: &str, port: u16| {
        if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        }
    };
    let answers = |from: &Namespace, address: &str| {
        let said = ask_udp(from, address);
        assert!(
            said.as_ref().is_ok_and(|said| said.ends_with(" hello")),
            "{address}: {said:?}"
        );
    };
    world::tried_out(&[&world.host, &world.outside]);
    let mut of_the_lan = vec![HOST, HOST6];
    of_the_lan.extend(SECOND.iter().chain(&ELSEWHERE));
    for again in [false, true] {
        let own = ["127.0.0.1", "127.0.0.2", "127.9.9.9", "::1"];
        for address in own.iter().chain(&of_the_lan) {
            answers(&world.host, &at(address, 5300));
        }
        for address in &of_the_lan {
            answers(&world.outside, &at(address, 5300));
        }
        answers(&world.outside, &at(&link_local, 5300));
        reached(&world.outside, &at(&link_local, 5303));
        answers(&world.host, "127.0.0.2:5301");
        for address in SECOND {
            answers(&world.outside, &at(address, 5302));
        }
        // One socket may speak with several of them.
        world.host.run(|| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(world::PATIENCE)).unwrap();
            for asked in ["127.0.0.1:5300", "127.0.0.2:5300", "127.0.0.1:5300"] {
                socket.send_to(b"hello", asked).unwrap();
                let (_, from) = socket.recv_from(&mut [0; 64]).unwrap();
                assert_eq!(from.to_string(), asked);
            }
        });
        if !again {
            network.kill();
            network.start();
        }
    }
}
