//! A host that forwards for networks is nobody else's router.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::time::{Duration, Instant};

use container_api::network::InspectRequest;
use world::namespace::Namespace;
use world::{HOST, HOST6, PATIENCE, SERVER, SERVER6, World, ask, serve};

/// A second peer of the host, on another cable.
const OTHER: &str = "10.7.0.9";
const OTHER6: &str = "2001:db8:7::9";

struct Peers<'w> {
    world: &'w World,
    other: Namespace,
}

impl<'w> Peers<'w> {
    /// Both know a way to each other, through the host.
    fn new(world: &'w World) -> Self {
        let other = Namespace::new();
        world.host.cable("lan2", &other, "lan");
        world.host.sh(
            "ip address add 10.7.0.1/24 dev lan2 && ip address add 2001:db8:7::1/64 dev lan2 nodad",
        );
        other.sh(&format!(
            "ip address add {OTHER}/24 dev lan && ip address add {OTHER6}/64 dev lan nodad &&
             ip route add default via 10.7.0.1 && ip route add default via 2001:db8:7::1"
        ));
        world.outside.sh(&format!(
            "ip route add 10.7.0.0/24 via {HOST} && ip route add 2001:db8:7::/64 via {HOST6}"
        ));
        serve(&other, "[::]:80");
        serve(&world.outside, "[::]:80");
        world::tried_out(&[&world.host, &world.outside, &other]);
        Self { world, other }
    }

    /// Whether one of the two reaches the other.
    fn are_apart(&self) -> bool {
        let attempts = [
            (&self.world.outside, format!("{OTHER}:80")),
            (&self.world.outside, format!("[{OTHER6}]:80")),
            (&self.other, format!("{SERVER}:80")),
            (&self.other, format!("[{SERVER6}]:80")),
        ];
        std::thread::scope(|scope| {
            let attempts = attempts.map(|(from, to)| scope.spawn(move || ask(from, &to).is_err()));
            attempts.into_iter().all(|attempt| attempt.join().unwrap())
        })
    }
}

fn state(host: &Namespace) -> String {
    host.sh(
        "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv6.conf.lan.accept_ra \
         net.ipv6.conf.lan2.accept_ra net.ipv4.conf.all.accept_redirects; nft list tables",
    )
}

#[test]
fn peers_of_a_host_that_forwards_for_networks_do_not_reach_each_other_through_it() {
    let world = World::new();
    let peers = Peers::new(&world);
    world
        .host
        .sh("sysctl -qw net.ipv6.conf.lan.accept_ra=1 net.ipv6.conf.lan2.accept_ra=0");
    let before = state(&world.host);
    let mut network = world.network("one", |_| ());
    let mut second = world.network("two", |configuration| {
        configuration["ipv4Subnet"] = "192.168.65.0/24".into();
        configuration["ipv6Subnet"] = "fd00:65::/64".into();
    });
    let guest = network.guest("a");
    for address in [
        SERVER,
        OTHER,
        &format!("[{SERVER6}]"),
        &format!("[{OTHER6}]"),
    ] {
        assert!(
            ask(&guest.namespace, &format!("{address}:80")).is_ok(),
            "{address}"
        );
    }
    assert!(peers.are_apart());
    // The host still believes its router.
    assert!(state(&world.host).contains("lan.accept_ra = 2"));
    // Another program's network for guests of its own finds a host that forwards; nobody gets in there unasked.
    let theirs = Namespace::new();
    world.host.sh("ip link add theirs0 type bridge && ip address add 10.8.0.1/24 dev theirs0 && ip link set theirs0 up");
    world.host.cable("port", &theirs, "eth0");
    world.host.sh("ip link set port master theirs0");
    theirs.sh("ip address add 10.8.0.2/24 dev eth0 && ip route add default via 10.8.0.1");
    world
        .outside
        .sh(&format!("ip route add 10.8.0.0/24 via {HOST}"));
    serve(&theirs, "0.0.0.0:80");
    assert!(ask(&theirs, &format!("{SERVER}:80")).is_ok());
    assert!(ask(&world.outside, "10.8.0.2:80").is_err());
    // As long as one network is there, and then as long as the other program's is.
    network.detach("a");
    drop(guest);
    network.stop();
    second.kill();
    second.kill_holder();
    let clean = format!(
        "{} clean --state {}",
        env!("CARGO_BIN_EXE_container-network-bridge"),
        second.state.display()
    );
    world.host.sh(&clean);
    assert!(ask(&theirs, &format!("{SERVER}:80")).is_ok() && peers.are_apart());
    world.host.sh("ip link del theirs0; ip link del port");
    world.host.sh(&clean);
    assert_eq!(state(&world.host), before);
    assert!(peers.are_apart());
}

#[test]
fn a_router_stays_one() {
    let world = World::new();
    let peers = Peers::new(&world);
    world
        .host
        .sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    let before = state(&world.host);
    let mut network = world.network("one", |_| ());
    assert!(ask(&world.outside, &format!("{OTHER}:80")).is_ok());
    assert!(ask(&peers.other, &format!("[{SERVER6}]:80")).is_ok());
    assert!(
        !world
            .host
            .sh("nft list tables")
            .contains("container_forward")
    );
    network.stop();
    assert_eq!(state(&world.host), before);
}

#[test]
fn rules_of_others_that_are_in_the_way_are_told() {
    let world = World::new();
    let probe = || {
        let program = env!("CARGO_BIN_EXE_container-network-bridge");
        let checks: serde_json::Value =
            serde_json::from_str(&world.host.sh(&format!("{program} probe"))).unwrap();
        let checks = checks.as_array().unwrap().clone();
        let found = checks
            .into_iter()
            .find(|check| check["name"] == "forwarding");
        found.unwrap()
    };
    assert_eq!(probe()["status"], "ok");
    // As docker's on a host that did not forward before.
    world.host.sh("iptables -P FORWARD DROP");
    let network = world.network("one", |_| ());
    let guest = network.guest("a");
    serve(&world.outside, "[::]:80");
    let server = format!("{SERVER}:80");
    assert!(ask(&guest.namespace, &server).is_err());
    let found = probe();
    assert!(
        found["detail"]
            .as_str()
            .unwrap()
            .contains("ip filter FORWARD"),
        "{found}"
    );
    // What it says helps.
    world.host.sh(found["remedy"].as_str().unwrap());
    assert_eq!(probe()["status"], "ok");
    assert!(ask(&guest.namespace, &server).is_ok());
}

/// `flush ruleset` is how a host's own rules often begin, and are loaded anew.
#[test]
fn rules_that_somebody_flushes_come_back() {
    let world = World::new();
    let peers = Peers::new(&world);
    let network = world.network("one", |_| ());
    let guest = network.guest("a");
    let rules = || {
        let rules = world.host.sh("nft -s list ruleset");
        // Who talks is counted in sets.
        let lines = rules.lines().filter(|line| !line.contains("elements"));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let before = rules();
    assert!(before.iter().any(|line| line.contains("container_forward")));
    assert!(ask(&guest.namespace, &format!("{SERVER}:80")).is_ok());
    for _ in 0..2 {
        world.host.sh("nft flush ruleset");
        let begun = Instant::now();
        while rules() != before {
            assert!(begun.elapsed() < PATIENCE, "{:#?}", rules());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(peers.are_apart());
        assert!(ask(&guest.namespace, &format!("{SERVER}:80")).is_ok());
    }
}

/// `ip addr flush`, a network's configuration that is loaded anew and `sysctl --system` take them away.
#[test]
fn what_somebody_takes_from_the_host_comes_back() {
    let world = World::new();
    serve(&world.outside, "[::]:80");
    let network = world.network("one", |_| ());
    let guest = network.guest("a");
    let name = || {
        let links = world.host.sh("ip -o link show type veth");
        let mut words = links.split([' ', '@', ':']);
        words
            .find(|word| word.starts_with("cnb"))
            .map(str::to_owned)
    };
    let side = name().unwrap();
    let rules = || {
        let rules = world.host.sh("nft -s list tables");
        rules
            .lines()
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let before = rules();
    let leaves = || {
        let mut servers = [format!("{SERVER}:80"), format!("[{SERVER6}]:80")].into_iter();
        servers.all(|server| ask(&guest.namespace, &server).is_ok())
    };
    assert!(leaves());
    let off =
        "echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding";
    for loss in [
        format!("ip address flush dev {side}"),
        format!("ip link set {side} down"),
        format!("ip link delete {side}"),
        format!("ip route flush dev {side}; ip -6 route flush dev {side}"),
        off.to_owned(),
        format!("nft flush ruleset; {off}"),
        format!("{off}; nft flush ruleset; ip link delete {side}"),
        format!(
            "ip link delete {side}; sleep 0.3; ip link delete {side} || true; nft flush ruleset"
        ),
    ] {
        world.host.sh(&loss);
        let begun = Instant::now();
        while !(leaves() && rules() == before) {
            assert!(begun.elapsed() < PATIENCE, "{loss}");
        }
        let forwards = world.host.sh("cat /proc/sys/net/ipv4/ip_forward");
        assert_eq!(forwards.trim(), "1", "{loss}");
        assert_eq!(name().as_ref(), Some(&side), "{loss}");
    }
    let inspect = network.call(|mut client| async move { client.inspect(InspectRequest {}).await });
    assert_eq!(inspect.unwrap().problem, "");
}
