//! The same without root: a user namespace, a program as the way out, ports by a process.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::io::ErrorKind;
use std::process::Command;
use std::time::Instant;

use container_api::Kind;
use container_api::network::{
    AllocateRequest, AttachRequest, Egress, InspectRequest, Port, Protocol, Uplink,
};
use hickory_proto::rr::RecordType::A;
use rustix::process::Signal;
use world::dns::{self, addresses};
use world::{
    As, HOST, HOST6, PATIENCE, PEER, SERVER, SERVER6, World, ask, ask_udp, reached, serve,
    serve_udp,
};

const GATEWAY: &str = "192.168.64.1";

fn port(host_port: u32, container_port: u32, protocol: Protocol) -> Port {
    Port {
        host_port,
        container_port,
        protocol: protocol.into(),
        ..Port::default()
    }
}

/// The way out that this host is to have: not Debian 12's pasta.
fn expected() -> Uplink {
    let help = Command::new("pasta").arg("--help").output();
    let is_new = help.is_ok_and(|help| {
        let words = [help.stdout, help.stderr].concat();
        String::from_utf8_lossy(&words).contains("--map-host-loopback")
    });
    let has_other = Command::new("slirp4netns")
        .arg("--version")
        .output()
        .is_ok();
    match (is_new, has_other) {
        (true, _) => Uplink::Pasta,
        (false, true) => Uplink::Slirp4netns,
        (false, false) => Uplink::None,
    }
}

#[test]
fn a_user_s_network_does_what_root_s_does() {
    let world = World::of(As::User);
    dns::serve(&world.outside, PEER);
    std::fs::write(world.resolv_conf(), format!("nameserver {PEER}\n")).unwrap();
    serve(&world.outside, "[::]:80");
    serve_udp(&world.outside, &format!("{SERVER}:7"));
    serve(&world.host, "127.0.0.1:4000");
    serve(&world.host, "[::1]:6000");
    let mut network = world.network("one", |_| ());
    let request = AttachRequest {
        ports: vec![
            port(8080, 80, Protocol::Tcp),
            port(5300, 53, Protocol::Udp),
            port(8081, 81, Protocol::Tcp),
        ],
        egress: Some(Egress {
            allow: vec![
                "www.example.org".into(),
                "host.container.internal:4000".into(),
            ],
        }),
        ..AttachRequest::default()
    };
    let (web, _) = network.guest_with("web", request);
    let other = network.guest("other");
    serve(&web.namespace, "[::]:80");
    serve_udp(&web.namespace, "[::]:53");
    let server = format!("{SERVER}:80");
    let reply = network.call(|mut client| async move { client.inspect(InspectRequest {}).await });
    let reply = reply.unwrap();
    let (uplink, problem) = (reply.uplink(), reply.problem);
    assert_eq!(uplink, expected());
    let leaves = uplink != Uplink::None;
    assert_eq!(problem.contains("slirp4netns"), !leaves, "{problem}");
    // Beside the network, it starts.
    let begun = Instant::now();
    while leaves && ask(&other.namespace, &server).is_err() {
        assert!(begun.elapsed() < PATIENCE);
    }
    for again in [false, true] {
        assert!(other.pings(web.ipv4()) && other.pings(web.ipv6()));
        if leaves {
            assert_eq!(
                ask(&other.namespace, &server).unwrap(),
                format!("{HOST} hello")
            );
            assert_eq!(
                ask(&other.namespace, &format!("[{SERVER6}]:80")).unwrap(),
                format!("{HOST6} hello")
            );
            assert!(
                ask_udp(&other.namespace, &format!("{SERVER}:7"))
                    .unwrap()
                    .starts_with(HOST)
            );
        }
        assert_eq!(
            addresses(&other.namespace, GATEWAY, "web", A).unwrap(),
            [web.ipv4()]
        );
        // The host's loopback by its name, and by no other way.
        for address in [
            "192.168.64.254:4000",
            "192.168.64.254:6000",
            "[fd00:64::ffff:ffff:ffff:fffe]:4000",
        ] {
            assert!(
                ask(&other.namespace, address).unwrap().ends_with(" hello"),
                "{address}"
            );
        }
        for address in [
            "192.0.0.1:4000",
            "198.18.255.2:4000",
            "[fd00::2]:6000",
            "192.168.64.1:4000",
            "169.254.169.254:80",
        ] {
            assert!(ask(&other.namespace, address).is_err(), "{address}");
        }
        // Ports, from the outside and from the host.
        for address in ["127.0.0.1:8080", "[::1]:8080"] {
            reached(&world.host, address);
        }
        for address in [format!("{HOST}:8080"), format!("[{HOST6}]:8080")] {
            assert!(
                ask(&world.outside, &address).unwrap().ends_with(" hello"),
                "{address}"
            );
        }
        for address in ["127.0.0.1:8080", "[::1]:8080"] {
            assert!(
                ask(&world.host, address).unwrap().ends_with(" hello"),
                "{address}"
            );
        }
        assert!(
            ask_udp(&world.outside, &format!("{HOST}:5300"))
                .unwrap()
                .ends_with(" hello")
        );
        // Rules.
        if !again {
            assert!(ask(&web.namespace, &server).is_err());
            assert_eq!(
                addresses(&web.namespace, GATEWAY, "www.example.org", A).unwrap(),
                [SERVER]
            );
        }
        assert_eq!(ask(&web.namespace, &server).is_ok(), leaves);
        assert!(ask(&web.namespace, "192.168.64.254:4000").is_ok());
        assert!(ask(&web.namespace, "192.168.64.254:6000").is_err());
        if !again {
            network.kill();
            assert_eq!(ask(&other.namespace, &server).is_ok(), leaves);
            network.start();
        }
    }
    // A port that is root's.
    network
        .allocate(AllocateRequest {
            container: "low".into(),
            ..AllocateRequest::default()
        })
        .unwrap();
    let request = AttachRequest {
        container: "low".into(),
        ports: vec![port(80, 80, Protocol::Tcp)],
        ..AttachRequest::default()
    };
    let error = network.attach(request).unwrap_err();
    assert!(
        error.kind == Kind::PermissionDenied && error.message().contains("80/tcp"),
        "{error}"
    );
    network.detach("web");
    assert_eq!(
        ask(&world.host, "127.0.0.1:8080").unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    network.detach("other");
    network.stop();
    for lock in ["namespace.lock", "uplink.lock"] {
        assert_eq!(
            container_api::lock::holder(&network.state.join(lock)).unwrap(),
            None,
            "{lock}"
        );
    }
}

#[test]
fn a_way_out_that_is_lost_comes_back() {
    let world = World::of(As::User);
    serve(&world.outside, "[::]:80");
    let mut network = world.network("one", |_| ());
    if expected() == Uplink::None {
        return;
    }
    let server = format!("{SERVER}:80");
    let guest = network.guest("web");
    let lock = network.state.join("uplink.lock");
    let keeper = || container_api::lock::holder(&lock).unwrap();
    let program = |keeper: rustix::process::Pid| {
        let pid = keeper.as_raw_nonzero();
        let found = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let first = found.unwrap_or_default();
        let first = first.split_whitespace().next().map(str::to_owned);
        rustix::process::Pid::from_raw(first?.parse().unwrap())
    };
    let send = |pid, signal| {
        // It may have gone by itself.
        let _ = rustix::process::kill_process(pid, signal);
    };
    let problem = |network: &world::Network<'_>| {
        let reply =
            network.call(|mut client| async move { client.inspect(InspectRequest {}).await });
        reply.unwrap().problem
    };
    let wait = |what: &str, is_so: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        begun.elapsed()
    };
    let leads_out = || ask(&guest.namespace, &server).is_ok();
    wait("it starts", &leads_out);
    assert_eq!(problem(&network), "");
    // Its keeper is killed; then both of them; then the program alone.
    for both in [false, true] {
        let first = keeper().unwrap();
        if let Some(program) = program(first).filter(|_| both) {
            send(program, Signal::KILL);
        }
        send(first, Signal::KILL);
        wait("another one", &|| {
            keeper().is_some_and(|found| found != first)
        });
        let took = wait("a way out", &leads_out);
        eprintln!("the way out is back after {took:?}");
        wait("no problem", &|| problem(&network).is_empty());
    }
    let first = program(keeper().unwrap()).unwrap();
    send(first, Signal::KILL);
    wait("another one", &|| {
        keeper()
            .and_then(program)
            .is_some_and(|found| found != first)
    });
    wait("a way out", &leads_out);
    // Who is killed again and again comes back more slowly, and that is told.
    wait("a problem", &|| {
        if let Some(keeper) = keeper() {
            send(keeper, Signal::KILL);
        }
        let problem = problem(&network);
        problem.contains("nothing leaves the network") && problem.contains("is started again")
    });
    wait("a way out", &leads_out);
    wait("no problem", &|| problem(&network).is_empty());
    // Who is stopped goes on: the program, and its keeper.
    let keeper_now = keeper().unwrap();
    let stopped = [Some(keeper_now), program(keeper_now)];
    for pid in stopped.into_iter().flatten().rev() {
        send(pid, Signal::STOP);
    }
    wait("a way out", &leads_out);
    assert_eq!(keeper(), Some(keeper_now));
    // A stopped one holds up neither the next namespace's holder nor the end.
    send(keeper_now, Signal::STOP);
    network.kill_holder();
    wait("another one", &|| {
        keeper().is_some_and(|found| found != keeper_now)
    });
    wait("a way out", &leads_out);
    send(keeper().unwrap(), Signal::STOP);
    network.detach("web");
    network.stop();
    assert_eq!(keeper(), None);
}
