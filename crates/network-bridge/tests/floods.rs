//! A machine that asks for far too much: the others are served all the same, and the host's tables are not filled.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use container_api::network::{AttachRequest, InspectRequest, Port, Protocol};
use hickory_proto::rr::RecordType::A;
use world::dns::addresses;
use world::frames::{Mac, ethernet, ipv4, ipv6, mac, syn, udp};
use world::guest::Guest;
use world::station::Station;
use world::{As, HOST, Network, PATIENCE, SERVER, World, ask, ask_udp, reached, serve, serve_udp};

const GATEWAY: &str = "192.168.64.1";
/// The host by its name.
const BY_NAME: &str = "192.168.64.254";
/// The most conversations of one address: see `filter::packets`.
const CONVERSATIONS: u32 = 4096;

/// What everybody else has while one machine floods.
struct Others<'w> {
    world: &'w World,
    victim: Guest,
    neighbour: Guest,
    /// Whether packets leave: not with every host's pasta.
    leaves: bool,
}

impl<'w> Others<'w> {
    fn new(world: &'w World, network: &Network<'w>) -> Self {
        serve(&world.outside, "[::]:80");
        serve_udp(&world.outside, &format!("{SERVER}:7"));
        serve(&world.host, "127.0.0.1:4000");
        let port = |host_port, container_port, protocol: Protocol| Port {
            host_port,
            container_port,
            protocol: protocol.into(),
            ..Port::default()
        };
        let request = AttachRequest {
            ports: vec![port(8080, 80, Protocol::Tcp), port(5353, 53, Protocol::Udp)],
            ..AttachRequest::default()
        };
        let (victim, _) = network.guest_with("victim", request);
        let neighbour = network.guest("neighbour");
        serve(&victim.namespace, "[::]:80");
        reached(&world.outside, &format!("{HOST}:8080"));
        serve_udp(&victim.namespace, "0.0.0.0:53");
        let inspect = |mut client: container_api::network::network_client::NetworkClient<_>| async move {
            client.inspect(InspectRequest {}).await
        };
        let leaves = network.call(inspect).unwrap().problem.is_empty();
        let others = Self {
            world,
            victim,
            neighbour,
            leaves,
        };
        // Beside the network, a user's way out starts.
        let begun = Instant::now();
        while leaves && ask(&others.victim.namespace, &format!("{SERVER}:80")).is_err() {
            assert!(begun.elapsed() < PATIENCE);
        }
        others.are_served("before");
        others
    }

    fn are_served(&self, when: &str) {
        let victim = &self.victim.namespace;
        assert!(self.neighbour.pings(self.victim.ipv4()), "{when}: IPv4");
        assert!(self.neighbour.pings(self.victim.ipv6()), "{when}: IPv6");
        let web = format!("{}:80", self.victim.ipv4());
        assert!(ask(&self.neighbour.namespace, &web).is_ok(), "{when}: TCP");
        let found = addresses(victim, GATEWAY, "neighbour", A);
        assert_eq!(found.unwrap(), [self.neighbour.ipv4()], "{when}: names");
        let host = ask(victim, &format!("{BY_NAME}:4000"));
        assert!(host.is_ok(), "{when}: the host's services: {host:?}");
        let outside = &self.world.outside;
        let port = ask(outside, &format!("{HOST}:8080"));
        assert!(port.is_ok(), "{when}: a published port: {port:?}");
        let port = ask_udp(outside, &format!("{HOST}:5353"));
        assert!(port.is_ok(), "{when}: a published port of UDP: {port:?}");
        if self.leaves {
            let server = ask(victim, &format!("{SERVER}:80"));
            assert!(server.is_ok(), "{when}: the outside: {server:?}");
            let server = ask_udp(victim, &format!("{SERVER}:7"));
            assert!(server.is_ok(), "{when}: the outside by UDP: {server:?}");
        }
    }
}

/// Conversations that the kernel keeps for the network.
fn conversations(network: &Network<'_>) -> u32 {
    let count = network.sh("cat /proc/sys/net/netfilter/nf_conntrack_count");
    count.trim().parse().unwrap()
}

fn descriptors(network: &Network<'_>) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", network.pid()));
    open.unwrap().count()
}

fn flood(who: As) {
    let world = World::of(who);
    let mut network = world.network("one", |_| ());
    let evil = Station::new(&network, "evil");
    let others = Others::new(&world, &network);
    let link = network.sh("cat /sys/class/net/bridge/address; ip link show bridge");
    let gateway: Mac = mac(link
        .split_whitespace()
        .skip_while(|word| *word != "link/ether")
        .nth(1)
        .unwrap());
    let to_gateway = |kind, packet: &[u8]| evil.send(&ethernet(gateway, evil.mac, kind, packet));

    // Addresses that nobody has: the table of neighbours is small, and the whole host's.
    for number in 0..2000_u32 {
        let nobody = Ipv4Addr::from_bits(0xc0a8_4000 | (100 + number % 150));
        to_gateway(0x0800, &ipv4(evil.ipv4, nobody, 17, &udp(9, 9, b"")));
        let nobody = Ipv6Addr::from_bits(0xfd00_0064 << 96 | u128::from(0x1000 + number));
        to_gateway(0x86dd, &ipv6(evil.ipv6, nobody, 17, &udp(9, 9, b"")));
    }
    others.are_served("neighbours");
    let neighbours = network.sh("ip neigh show dev bridge; ip -6 neigh show dev bridge");
    let looked_for = neighbours.lines().count();
    assert!(looked_for < 20, "{looked_for}: {neighbours}");

    // Conversations, with the outside, the resolver and the host.
    let servers = [(SERVER, 7), (GATEWAY, 53), (BY_NAME, 4000)];
    for (server, port) in servers {
        let server = server.parse().unwrap();
        for from in 10_000..20_000_u16 {
            to_gateway(0x0800, &ipv4(evil.ipv4, server, 17, &udp(from, port, b"x")));
        }
    }
    others.are_served("UDP from many ports");
    for (server, port) in servers {
        let server: Ipv4Addr = server.parse().unwrap();
        for from in 10_000..20_000_u16 {
            let segment = syn((evil.ipv4, from), (server, port));
            to_gateway(0x0800, &ipv4(evil.ipv4, server, 6, &segment));
        }
    }
    others.are_served("half-open connections");
    let kept = conversations(&network);
    assert!(kept > 1000 && kept < CONVERSATIONS + 1000, "{kept}");

    // Connections that are made, and kept, by somebody else than the victim: to the host's loopback, and to a name server.
    let greedy = network.guest("greedy");
    let held: Vec<TcpStream> = greedy.namespace.run(|| {
        let connect = |to: String| {
            let to: SocketAddr = to.parse().unwrap();
            TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()
        };
        let host = (0..600).filter_map(|_| connect(format!("{BY_NAME}:4000")));
        let resolver = (0..200).filter_map(|_| connect(format!("{GATEWAY}:53")));
        host.chain(resolver).collect()
    });
    assert!(held.len() > 500);
    others.are_served("connections that are kept");
    drop(held);

    // From the LAN, 2,000 ports at a port of a container.
    let before = descriptors(&network);
    world.outside.run(|| {
        for _ in 0..2000 {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"x", format!("{HOST}:5353")).unwrap();
        }
    });
    others.are_served("UDP at a published port");
    let after = descriptors(&network);
    // One for each of the last clients, where the kernel does not lead.
    assert!(after < before + 1100, "{before} {after}");

    // Packets between containers, and to the outside where the kernel leads them, do not depend on the process.
    let (ended, others) = (AtomicBool::new(false), &others);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let from = &others.neighbour.namespace;
            let mut answers = 0;
            while !ended.load(Ordering::Relaxed) || answers == 0 {
                ask(from, &format!("{}:80", others.victim.ipv4())).unwrap();
                if others.leaves {
                    ask(from, &format!("{SERVER}:80")).unwrap();
                }
                answers += 1;
            }
        });
        for _ in 0..3 {
            network.kill();
            network.start();
        }
        reached(&world.outside, &format!("{HOST}:8080"));
        ended.store(true, Ordering::Relaxed);
        load.join().unwrap();
    });
    others.are_served("killed under load");
}

#[test]
fn floods_of_one_machine_harm_nobody_else() {
    flood(As::Root);
}

#[test]
fn nor_on_a_user_s_network() {
    flood(As::User);
}

#[test]
fn a_network_s_containers_together_leave_the_host_its_conversations() {
    let world = World::new();
    let other = world.network("other", |configuration| {
        configuration["ipv4Subnet"] = "192.168.65.0/24".into();
        configuration["ipv6Subnet"] = "fd00:65::/64".into();
    });
    let network = world.network("one", |configuration| {
        configuration["options"] = serde_json::json!({"conversations": "640"});
    });
    serve(&world.outside, "[::]:80");
    let server = format!("{SERVER}:80");
    let guests = ["a", "b", "c"].map(|name| network.guest(name));
    assert!(ask(&guests[0].namespace, &server).is_ok());
    let send = || {
        for guest in &guests {
            guest.namespace.run(|| {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
                // One source port speaks to many, as programs that share files do.
                for port in 1000..2000 {
                    let _ = socket.send_to(b"x", format!("{SERVER}:{port}"));
                }
            });
        }
        let kept = world
            .host
            .sh("cat /proc/sys/net/netfilter/nf_conntrack_count");
        kept.trim().parse::<u32>().unwrap()
    };
    // What a busy machine drops on the way is sent again.
    let begun = std::time::Instant::now();
    while send() < 500 {
        assert!(begun.elapsed() < PATIENCE);
    }
    let kept = send();
    assert!((500..700).contains(&kept), "{kept}");
    let neighbour = other.guest("neighbour");
    assert!(ask(&neighbour.namespace, &server).is_ok());
    // All networks together leave it half, however many they are. Here by smaller figures: so many are slow to make.
    let table = "inet container_networks";
    let rules = world.host.sh(&format!("nft -t list table {table}"));
    let max = world
        .host
        .sh("cat /proc/sys/net/netfilter/nf_conntrack_max");
    let each = max.trim().parse::<u32>().unwrap() / 2 / 64;
    assert_eq!(
        rules.matches(&format!("ct count over {each} ")).count(),
        3,
        "{rules}"
    );
    let kept = || -> u32 {
        let kept = world
            .host
            .sh("cat /proc/sys/net/netfilter/nf_conntrack_count");
        kept.trim().parse().unwrap()
    };
    let before = kept();
    let fewer = rules.replace(&format!("ct count over {each} "), "ct count over 12 ");
    let script = world.scratch.path().join("fewer");
    std::fs::write(&script, format!("delete table {table}\n{fewer}")).unwrap();
    world.host.sh(&format!("nft -f {}", script.display()));
    for port in 3000..4000 {
        neighbour.namespace.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            let _ = socket.send_to(b"x", format!("{SERVER}:{port}"));
        });
    }
    let more = kept() - before;
    assert!((500..900).contains(&more), "{more}");
}
