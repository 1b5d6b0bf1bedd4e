//! The program in a host made of namespaces: switching, the way out, isolation, and what stays when it is killed.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::io::ErrorKind;

use container_api::network::{AttachRequest, Egress};
use world::namespace::Namespace;
use world::{As, HOST, HOST6, PEER, PEER6, SERVER, SERVER6, World, ask, ask_udp, serve, serve_udp};

fn kind<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

/// What the host has of a network, or would have.
fn traces(host: &Namespace) -> String {
    host.sh("ls /proc/sys/net/ipv4/conf; ip route; ip -6 route; nft list ruleset; sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding")
}

#[test]
fn guests_reach_each_other_the_internet_and_the_host_reaches_them() {
    let world = World::new();
    let before = traces(&world.host);
    let mut network = world.network("one", |_| ());
    let (a, b) = (network.guest("a"), network.guest("b"));
    assert!(
        a.pings(b.ipv4()) && b.pings(a.ipv6()) && a.pings("192.168.64.1") && a.pings("fd00:64::1")
    );
    serve(&b.namespace, "[::]:80");
    assert_eq!(
        ask(&a.namespace, &format!("{}:80", b.ipv4())).unwrap(),
        format!("{} hello", a.ipv4())
    );
    assert_eq!(
        ask(&a.namespace, &format!("[{}]:80", b.ipv6())).unwrap(),
        format!("{} hello", a.ipv6())
    );
    // Beyond the router they are the host.
    serve(&world.outside, "[::]:80");
    assert_eq!(
        ask(&a.namespace, &format!("{SERVER}:80")).unwrap(),
        format!("{HOST} hello")
    );
    assert_eq!(
        ask(&a.namespace, &format!("[{SERVER6}]:80")).unwrap(),
        format!("{HOST6} hello")
    );
    // The host reaches them by their addresses; its LAN does not.
    assert_eq!(
        ask(&world.host, &format!("{}:80", b.ipv4())).unwrap(),
        "192.168.64.254 hello"
    );
    assert!(ask(&world.host, &format!("[{}]:80", b.ipv6())).is_ok());
    world.outside.sh(&format!(
        "ip route add 192.168.64.0/24 via {HOST} && ip route add fd00:64::/64 via {HOST6}"
    ));
    let (ipv4, ipv6) = (format!("{}:80", b.ipv4()), format!("[{}]:80", b.ipv6()));
    assert!(ask(&world.outside, &ipv4).is_err() && ask(&world.outside, &ipv6).is_err());
    // Nothing answers on the gateway but what is meant to.
    assert_eq!(
        kind(ask(&a.namespace, "192.168.64.1:22")),
        ErrorKind::ConnectionRefused
    );
    // Services at the host's addresses on its LAN are for them as for the LAN; what is the host's own is not, whatever its address.
    serve(&world.host, "[::]:22");
    // A server of UDP that listens at every address would answer by the one nearest to them.
    serve_udp(&world.host, &format!("{HOST}:23"));
    serve_udp(&world.host, &format!("[{HOST6}]:23"));
    serve(&world.host, "127.0.0.5:24");
    world.host.sh("ip address add 169.254.7.7/32 dev lo");
    for address in [HOST, &format!("[{HOST6}]")] {
        let said = ask(&a.namespace, &format!("{address}:22")).unwrap();
        assert!(said.ends_with(" hello"), "{said}");
        assert!(ask_udp(&a.namespace, &format!("{address}:23")).is_ok());
    }
    for address in [
        "169.254.7.7:22",
        "127.0.0.5:24",
        "[fd00:64::ffff:ffff:ffff:fffe]:24",
        "192.168.64.254:24",
    ] {
        assert!(ask(&a.namespace, address).is_err(), "{address}");
    }
    assert!(a.pings(HOST) && a.pings(HOST6));
    // Where clouds keep their secrets there is nothing for them.
    world.outside.sh("ip address add 169.254.169.254/32 dev lo");
    world
        .host
        .sh(&format!("ip route add 169.254.169.254/32 via {PEER}"));
    assert!(ask(&world.host, "169.254.169.254:80").is_ok());
    assert!(ask(&a.namespace, "169.254.169.254:80").is_err());
    // Without a route they are told at once.
    world
        .host
        .sh("ip route del default; ip -6 route del default");
    let begun = std::time::Instant::now();
    assert!(ask(&a.namespace, "192.0.2.99:80").is_err() && begun.elapsed().as_secs() < 2);
    world.host.sh(&format!("ip address del 169.254.7.7/32 dev lo; ip route del 169.254.169.254/32; ip route add default via {PEER}; ip route add default via {PEER6}"));
    // Of all that nothing is left.
    let counters = network.member("a").counters.unwrap();
    assert!(
        counters.rx_bytes > 1000 && counters.tx_packets > 10,
        "{counters:?}"
    );
    network.detach("a");
    network.detach("b");
    network.stop();
    assert_eq!(traces(&world.host), before);
}

#[test]
fn networks_are_apart_and_an_internal_one_has_no_way_out() {
    let world = World::new();
    // Many hosts switch IPv6 off for interfaces that they do not know.
    world
        .host
        .sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    let one = world.network("one", |_| ());
    let two = world.network("two", |configuration| {
        configuration["ipv4Subnet"] = "192.168.65.0/24".into();
        configuration["ipv6Subnet"] = "fd00:65::/64".into();
    });
    let inner = world.network("inner", |configuration| {
        configuration["ipv4Subnet"] = "192.168.66.0/24".into();
        configuration["ipv6Subnet"] = "fd00:66::/64".into();
        configuration["mode"] = "hostOnly".into();
    });
    let (a, b) = (one.guest("a"), two.guest("b"));
    let (c, d) = (inner.guest("c"), inner.guest("d"));
    serve(&world.outside, "[::]:80");
    for (guest, other) in [(&a, &b), (&b, &a), (&a, &c), (&c, &a)] {
        assert!(guest.hears_nothing_of(other.ipv4()) && guest.hears_nothing_of(other.ipv6()));
        for address in [other.ipv4().to_owned(), format!("[{}]", other.ipv6())] {
            let begun = std::time::Instant::now();
            assert!(ask(&guest.namespace, &format!("{address}:80")).is_err());
            assert!(begun.elapsed().as_secs() < 2, "{address} was silent");
        }
    }
    assert!(c.pings(d.ipv4()) && c.pings(d.ipv6()));
    assert!(ask(&b.namespace, &format!("{SERVER}:80")).is_ok());
    assert!(ask(&b.namespace, &format!("[{SERVER6}]:80")).is_ok());
    for address in [
        format!("{SERVER}:80"),
        format!("[{SERVER6}]:80"),
        format!("{HOST}:80"),
    ] {
        assert!(ask(&c.namespace, &address).is_err(), "{address}");
    }
    let reply = inner.call(|mut client| async move {
        client
            .inspect(container_api::network::InspectRequest {})
            .await
    });
    let reply = reply.unwrap();
    assert_eq!(reply.uplink(), container_api::network::Uplink::None);
    world.outside.sh(&format!(
        "ip route add 192.168.66.0/24 via {HOST}; ip -6 route add fd00:66::/64 via {HOST6}"
    ));
    // The host reaches who is there, and nobody behind the host does; nor does who is there begin to speak to the host.
    serve(&c.namespace, "[::]:80");
    serve(&world.host, "[::]:8000");
    for address in [c.ipv4().to_owned(), format!("[{}]", c.ipv6())] {
        ask(&world.host, &format!("{address}:80")).unwrap();
        for other in [&world.outside, &a.namespace, &b.namespace] {
            assert!(ask(other, &format!("{address}:80")).is_err());
        }
    }
    for address in [
        format!("{}:8000", reply.host),
        format!("[{}]:8000", reply.host6),
        format!("{HOST}:8000"),
    ] {
        assert!(ask(&c.namespace, &address).is_err(), "{address}");
    }
    assert!(c.hears_nothing_of(&reply.host) && c.hears_nothing_of(&reply.host6));
    // The next process finds it so, and it goes with the last.
    let (mut inner, pair) = (inner, "ip -o link show type veth | grep -c cnb");
    assert_eq!(world.host.sh(pair).trim(), "3");
    inner.kill();
    inner.start();
    ask(&world.host, &format!("{}:80", c.ipv4())).unwrap();
    inner.detach("c");
    inner.detach("d");
    inner.stop();
    assert_eq!(world.host.sh(pair).trim(), "2");
}

#[test]
fn a_killed_process_harms_no_packet_and_the_next_one_takes_over() {
    let world = World::new();
    let mut network = world.network("one", |_| ());
    let (a, b) = (network.guest("a"), network.guest("b"));
    serve_udp(&world.outside, &format!("{SERVER}:7"));
    network.kill();
    assert!(a.pings(b.ipv4()));
    assert!(ask_udp(&a.namespace, &format!("{SERVER}:7")).is_ok());
    drop(b);
    network.start();
    assert!(network.member("a").attached && !network.member("b").attached);
    assert_eq!(
        network.member("a").addresses.unwrap().ipv4,
        a.addresses.ipv4
    );
    let again = network.guest("b");
    assert!(a.pings(again.ipv4()) && again.pings("192.168.64.1"));
    assert!(ask_udp(&again.namespace, &format!("{SERVER}:7")).is_ok());
    // The process in the namespace may be killed as well.
    let children = world
        .host
        .sh(&format!("cat /proc/{}/task/*/children", network.pid()));
    for child in children.split_whitespace() {
        world.host.sh(&format!("kill -9 {child}"));
    }
    assert!(network.member("a").attached);
    network.detach("a");
    // Told to end while machines are there, it leaves the network to the next one.
    network.stop();
    assert!(again.pings("192.168.64.1") && a.hears_nothing_of(again.ipv4()));
}

#[test]
fn a_namespace_whose_holder_was_killed_has_another_one() {
    namespace_outlives_its_holder(As::Root);
}

#[test]
fn and_a_user_s() {
    namespace_outlives_its_holder(As::User);
}

fn namespace_outlives_its_holder(who: As) {
    let world = World::of(who);
    serve(&world.outside, "[::]:80");
    let mut network = world.network("one", |_| ());
    let leads_out = network.call(|mut client| async move {
        client
            .inspect(container_api::network::InspectRequest {})
            .await
    });
    let leads_out = leads_out.unwrap().problem.is_empty();
    let (a, b) = (network.guest("a"), network.guest("b"));
    let lock = network.state.join("namespace.lock");
    let holder = || container_api::lock::holder(&lock).unwrap();
    let first = holder().unwrap();
    container_api::lock::signal_holder(&lock, rustix::process::Signal::KILL).unwrap();
    let begun = std::time::Instant::now();
    while holder().is_none_or(|holder| holder == first) {
        assert!(begun.elapsed() < world::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // The next process of the network finds all that there was.
    network.kill();
    network.start();
    assert!(network.member("a").attached && a.pings(b.ipv4()));
    let begun = std::time::Instant::now();
    while leads_out && ask(&a.namespace, &format!("{SERVER}:80")).is_err() {
        assert!(begun.elapsed() < world::PATIENCE);
    }
    let again = network.guest("c");
    assert!(again.pings(a.ipv4()));
}

#[test]
fn a_network_that_was_lost_is_made_anew() {
    lost_with_all_processes(As::Root);
}

#[test]
fn and_a_user_s_that_was_lost() {
    lost_with_all_processes(As::User);
}

/// Its containers have their addresses and ports with their next taps, and the way out is there; whatever is left of the old one.
fn lost_with_all_processes(who: As) {
    use rustix::process::Signal;
    let world = World::of(who);
    serve(&world.outside, "[::]:80");
    let mut network = world.network("one", |_| ());
    let inspect = |network: &world::Network<'_>| {
        let reply = network.call(|mut client| async move {
            client
                .inspect(container_api::network::InspectRequest {})
                .await
        });
        reply.unwrap()
    };
    let leads_out = inspect(&network).problem.is_empty();
    let a = network.guest("a");
    // What keeps the old way out is stopped, and does not see the end of its namespace.
    let keeper = network.state.join("uplink.lock");
    container_api::lock::signal_holder(&keeper, Signal::STOP).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(network.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    network.kill_holder();
    network.kill();
    network.start();
    assert!(!network.member("a").attached);
    let again = network.guest("a");
    assert_eq!(again.addresses, a.addresses);
    let begun = std::time::Instant::now();
    while leads_out && ask(&again.namespace, &format!("{SERVER}:80")).is_err() {
        assert!(begun.elapsed() < world::PATIENCE);
    }
    assert_eq!(inspect(&network).problem.is_empty(), leads_out);
    let b = network.guest("b");
    assert!(b.pings(again.ipv4()) && a.hears_nothing_of(b.ipv4()));
}

#[test]
fn rules_of_containers_that_went_are_removed_behind_them() {
    let world = World::new();
    let mut network = world.network("one", |_| ());
    let limited = || AttachRequest {
        egress: Some(Egress {
            allow: vec!["example.org:443".into(), "192.0.2.1".into()],
        }),
        ..AttachRequest::default()
    };
    let b = network.guest("b");
    serve(&world.outside, &format!("{SERVER}:80"));
    let server = format!("{SERVER}:80");
    let (a, _) = network.guest_with("a", limited());
    assert!(ask(&a.namespace, &server).is_err());
    // What bound it does not bind whoever has its address next, however soon.
    network.detach("a");
    let again = network.guest("a");
    assert_eq!(again.addresses.ipv4, a.addresses.ipv4);
    assert!(ask(&again.namespace, &server).is_ok());
    network.detach("a");
    let (again, _) = network.guest_with("a", limited());
    assert!(ask(&again.namespace, &server).is_err());
    network.detach("a");
    let rules = |network: &world::Network<'_>| network.sh("nft list ruleset");
    let begun = std::time::Instant::now();
    while rules(&network).contains("egress_") || rules(&network).contains("names_") {
        assert!(begun.elapsed() < world::PATIENCE, "{}", rules(&network));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(ask(&b.namespace, &server).is_ok());
    // Where the process is killed before it has, the next one does.
    let _c = network.guest_with("c", limited());
    let d = network.guest_with("d", limited()).0;
    network.detach("c");
    network.kill();
    assert!(rules(&network).contains("chain egress_"));
    network.start();
    let left = rules(&network);
    assert_eq!(left.matches("chain egress_").count(), 1, "{left}");
    assert_eq!(left.matches("set names_").count(), 2, "{left}");
    assert!(ask(&d.namespace, &server).is_err());
    assert!(ask(&b.namespace, &server).is_ok() && b.pings(d.ipv4()));
}

#[test]
fn a_tap_that_is_nobody_s_keeps_no_network() {
    let world = World::new();
    let before = traces(&world.host);
    let mut network = world.network("one", |_| ());
    let _tap = network.spare();
    network.stop();
    assert_eq!(traces(&world.host), before);
    let holder = container_api::lock::holder(&network.state.join("namespace.lock"));
    assert_eq!(holder.unwrap(), None);
}

#[test]
fn a_subnet_that_the_host_has_elsewhere_is_refused_and_left_alone() {
    let world = World::new();
    let state = world.scratch.path().join("one");
    world.host.sh("ip route add 192.168.64.0/24 dev lan");
    let before = traces(&world.host);
    std::fs::create_dir(&state).unwrap();
    let configuration = r#"{"name": "one", "creationDate": "2026-01-02T03:04:05Z", "plugin": "p", "ipv4Subnet": "192.168.64.0/24"}"#;
    std::fs::write(state.join("network.json"), configuration).unwrap();
    let path = world.scratch.path().display();
    let program = env!("CARGO_BIN_EXE_container-network-bridge");
    let line = format!("timeout 20 {program} start --state {path}/one --runtime-root {path}");
    let (words, started) = world.host.try_sh(&line);
    assert!(
        !started && words.contains("this host has another route to 192.168.64.0/24"),
        "{words}"
    );
    assert_eq!(traces(&world.host), before);
    let holder = container_api::lock::holder(&state.join("namespace.lock"));
    assert_eq!(holder.unwrap(), None);
}

#[test]
fn a_network_is_made_quickly_and_costs_little() {
    let world = World::new();
    let mut network = world.network("one", |_| ());
    let mut fastest = std::time::Duration::MAX;
    for _ in 0..5 {
        network.stop();
        fastest = fastest.min(network.start());
    }
    let pid = network.pid();
    let holder = container_api::lock::holder(&network.state.join("namespace.lock"))
        .unwrap()
        .unwrap();
    let children = world.host.sh(&format!("cat /proc/{pid}/task/*/children"));
    let mut kilobytes = 0;
    for process in children
        .split_whitespace()
        .chain([pid.to_string().as_str(), holder.to_string().as_str()])
    {
        // An nft that has just ended is nothing at rest.
        let Ok(rollup) = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")) else {
            continue;
        };
        let line = rollup
            .lines()
            .find(|line| line.starts_with("Pss:"))
            .unwrap();
        kilobytes += line
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap();
    }
    eprintln!("made in {fastest:?}, {kilobytes} KiB at rest");
    // Programs that are built for tests are larger and slower than those that are installed.
    assert!(
        fastest.as_millis() < 400 && kilobytes < 40_000,
        "{fastest:?} {kilobytes}"
    );
}
