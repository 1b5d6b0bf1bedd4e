//! Names: of containers, of the host, and of the internet by the host's resolvers.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use container_api::network::{AllocateRequest, ReleaseRequest};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{A, AAAA, MX, NS, PTR, SOA, TXT};
use world::dns::{self, By, addresses, exchange, query};
use world::{As, HOST, PATIENCE, PEER, SERVER, SERVER6, World, ask, ask_udp, serve, serve_udp};

const GATEWAY: &str = "192.168.64.1";
const GATEWAY6: &str = "fd00:64::1";

#[test]
fn containers_are_found_by_their_names() {
    let world = World::new();
    let asked = dns::serve(&world.outside, PEER);
    std::fs::write(world.resolv_conf(), format!("nameserver {PEER}\n")).unwrap();
    let network = world.network("one", |_| ());
    let (a, b) = (network.guest("a"), network.guest("b"));
    network
        .allocate(AllocateRequest {
            container: "b".into(),
            names: vec!["b".into(), "DB".into(), "web.internal".into()],
            ..AllocateRequest::default()
        })
        .unwrap();
    let found = |name: &str, kind| addresses(&a.namespace, GATEWAY, name, kind);
    for name in [
        "b",
        "db",
        "Db",
        "web.internal",
        // By the network's name, too.
        "b.one",
        "DB.One",
        "web.internal.one",
    ] {
        assert_eq!(found(name, A).unwrap(), [b.ipv4()], "{name}");
        assert_eq!(found(name, AAAA).unwrap(), [b.ipv6()], "{name}");
    }
    assert!(found("b", MX).unwrap().is_empty());
    assert_eq!(
        addresses(&a.namespace, GATEWAY6, "b", A).unwrap(),
        [b.ipv4()]
    );
    let by_tcp = query(&a.namespace, GATEWAY, "b", A, By::Tcp).unwrap();
    assert_eq!(by_tcp.answers[0].data.to_string(), b.ipv4());
    // The host may ask as well; another program than ours asks.
    assert_eq!(addresses(&world.host, GATEWAY, "b", A).unwrap(), [b.ipv4()]);
    let (words, found_it) = a.namespace.try_sh(&format!("busybox nslookup b {GATEWAY}"));
    assert!(
        found_it && words.contains(b.ipv4()) && words.contains(b.ipv6()),
        "{words}"
    );
    // And back.
    let last = b.ipv4().rsplit('.').next().unwrap();
    assert_eq!(
        found(&format!("{last}.64.168.192.in-addr.arpa"), PTR).unwrap(),
        ["b."]
    );
    let number = b.ipv6().parse::<std::net::Ipv6Addr>().unwrap().to_bits();
    let digits = format!("{number:032x}");
    let reversed: Vec<String> = digits.chars().rev().map(String::from).collect();
    assert_eq!(
        found(&format!("{}.ip6.arpa", reversed.join(".")), PTR).unwrap(),
        ["b."]
    );
    assert_eq!(
        found("99.64.168.192.in-addr.arpa", PTR),
        Err(ResponseCode::NXDomain)
    );
    // Nobody else is asked for what nobody else can know.
    for name in ["absent", "B2", "one", "other.container.internal"] {
        assert_eq!(found(name, A), Err(ResponseCode::NXDomain));
    }
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
    // What a zone says of itself is the world's business, and so is a name with another network behind it.
    for (name, kind) in [("org", NS), ("org", SOA), ("b.two", A), ("absent.one", A)] {
        let _ = found(name, kind);
        let asked = asked.lock().unwrap();
        assert!(
            asked.iter().any(|one| one.contains(name)),
            "{name}: {asked:?}"
        );
    }
    // Who has gone is not found any more; who is on another network never was.
    network.detach("b");
    assert_eq!(found("b", A), Err(ResponseCode::NXDomain));
}

#[test]
fn a_container_s_own_name_is_nobody_else_s() {
    let world = World::new();
    let mut network = world.network("one", |_| ());
    let asks = network.guest("asks");
    let found = |name: &str, kind| addresses(&asks.namespace, GATEWAY, name, kind);
    let named = |network: &world::Network<'_>, names: &[&str]| {
        let names = names.iter().map(|&name| name.into()).collect();
        let container = "other".into();
        let request = AllocateRequest {
            container,
            names,
            ..AllocateRequest::default()
        };
        network.allocate(request).unwrap();
    };
    let other = network.guest("other");
    named(&network, &["other", "web", "db"]);
    // As long as there is no such container the alias counts.
    assert_eq!(found("web", A).unwrap(), [other.ipv4()]);
    let web = network.guest("web");
    for again in [false, true] {
        for name in ["web", "Web", "web.one"] {
            assert_eq!(found(name, A).unwrap(), [web.ipv4()], "{name}");
            assert_eq!(found(name, AAAA).unwrap(), [web.ipv6()], "{name}");
        }
        for name in ["db", "other"] {
            assert_eq!(found(name, A).unwrap(), [other.ipv4()], "{name}");
        }
        for (guest, name) in [(&web, "web."), (&other, "other.")] {
            let last = guest.ipv4().rsplit('.').next().unwrap();
            let reversed = format!("{last}.64.168.192.in-addr.arpa");
            assert_eq!(found(&reversed, PTR).unwrap(), [name]);
        }
        if !again {
            network.kill();
            network.start();
        }
    }
    // One that has no name of its own has not that of another one either.
    named(&network, &["web"]);
    let last = other.ipv4().rsplit('.').next().unwrap();
    let reversed = format!("{last}.64.168.192.in-addr.arpa");
    assert_eq!(found(&reversed, PTR), Err(ResponseCode::NXDomain));
    assert_eq!(found("web", A).unwrap(), [web.ipv4()]);
    // One that is stopped has its name.
    network.detach("web");
    assert!(found("web", A).is_err());
    let container = "web".to_owned();
    let released = network
        .call(|mut client| async move { client.release(ReleaseRequest { container }).await });
    released.unwrap();
    assert_eq!(found("web", A).unwrap(), [other.ipv4()]);
}

#[test]
fn other_names_are_the_host_s_resolvers_business() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let inner = world.network("inner", |configuration| {
        configuration["ipv4Subnet"] = "192.168.66.0/24".into();
        configuration["ipv6Subnet"] = "fd00:66::/64".into();
        configuration["mode"] = "hostOnly".into();
    });
    let (a, c) = (network.guest("a"), inner.guest("c"));
    let asked = dns::serve(&world.outside, PEER);
    let stub = dns::serve(&world.host, "127.0.0.53");
    // The file is followed, a stub of the host's loopback works.
    for (server, seen) in [(PEER, &asked), ("127.0.0.53", &stub)] {
        std::fs::write(world.resolv_conf(), format!("nameserver {server}\n")).unwrap();
        assert_eq!(
            addresses(&a.namespace, GATEWAY, "www.example.org", A).unwrap(),
            [SERVER]
        );
        assert_eq!(
            addresses(&a.namespace, GATEWAY6, "www.example.org", AAAA).unwrap(),
            [SERVER6]
        );
        assert_eq!(seen.lock().unwrap().len(), 2);
    }
    assert_eq!(
        addresses(&a.namespace, GATEWAY, "www.example.com", A),
        Err(ResponseCode::NXDomain)
    );
    // 64 KiB come by TCP, and not at all where they do not fit.
    let ask_big = |by| query(&a.namespace, GATEWAY, "big.example.org", TXT, by).unwrap();
    let whole = ask_big(By::Tcp);
    assert_eq!(whole.answers.len(), 250);
    for by in [By::Udp, By::Edns(1232), By::Edns(65535)] {
        let cut = ask_big(by);
        assert!(cut.metadata.truncation && cut.answers.is_empty());
    }
    // Hostile answers are not believed.
    for name in ["loop.example.org", "wrong.example.org"] {
        assert_eq!(
            addresses(&a.namespace, GATEWAY, name, A),
            Err(ResponseCode::ServFail),
            "{name}"
        );
    }
    // Nor are hostile questions.
    let looping = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1];
    let told = exchange(&a.namespace, GATEWAY, &looping, By::Udp).unwrap();
    assert_eq!((told[1], told[3] & 15), (7, 1), "a format error");
    // A flood of what nobody answers holds up no other client, and ends.
    a.namespace.run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((GATEWAY, 53)).unwrap();
        let mut question = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 6];
        question.extend_from_slice(b"silent\x07example\x03org\0\0\x01\0\x01");
        for _ in 0..2000 {
            let _ = socket.send(&question);
        }
    });
    let b = network.guest("b");
    assert_eq!(
        addresses(&b.namespace, GATEWAY, "a", A).unwrap(),
        [a.ipv4()]
    );
    assert_eq!(
        addresses(&b.namespace, GATEWAY, "www.example.org", A).unwrap(),
        [SERVER]
    );
    // An internal network asks nobody.
    let before = stub.lock().unwrap().len();
    for name in ["www.example.org", "host.container.internal"] {
        assert_eq!(
            addresses(&c.namespace, "192.168.66.1", name, A),
            Err(ResponseCode::NXDomain)
        );
    }
    assert_eq!(stub.lock().unwrap().len(), before);
}

#[test]
fn a_silent_resolver_is_asked_last_the_next_time() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let a = network.guest("a");
    let _asked = dns::serve(&world.outside, PEER);
    // One that never answers, one that is not there, and one that knows.
    let _silent = world.outside.run(|| UdpSocket::bind((SERVER, 53)).unwrap());
    let servers = [SERVER, HOST, PEER].map(|server| format!("nameserver {server}\n"));
    std::fs::write(world.resolv_conf(), servers.concat()).unwrap();
    for most in [Duration::from_secs(3), Duration::from_secs(1)] {
        let begun = Instant::now();
        let found = addresses(&a.namespace, GATEWAY, "www.example.org", A);
        assert_eq!(found.unwrap(), [SERVER]);
        assert!(begun.elapsed() < most, "{:?}", begun.elapsed());
    }
}

#[test]
fn the_host_s_loopback_has_a_name() {
    loopback_has_a_name(As::Root);
}

#[test]
fn and_a_user_s() {
    loopback_has_a_name(As::User);
}

fn loopback_has_a_name(who: As) {
    let world = World::of(who);
    let mut network = world.network("one", |_| ());
    let a = network.guest("a");
    let name = "host.container.internal";
    assert_eq!(
        addresses(&a.namespace, GATEWAY, name, A).unwrap(),
        ["192.168.64.254"]
    );
    let ipv6 = addresses(&a.namespace, GATEWAY, name, AAAA).unwrap();
    assert_eq!(ipv6, ["fd00:64::ffff:ffff:ffff:fffe"]);
    let back = addresses(&a.namespace, GATEWAY, "254.64.168.192.in-addr.arpa", PTR);
    assert_eq!(back.unwrap(), ["host.container.internal."]);
    serve(&world.host, "127.0.0.1:4000");
    serve(&world.host, "[::1]:6000");
    serve_udp(&world.host, "127.0.0.1:4000");
    serve_udp(&world.host, "[::1]:6000");
    let hosts = ["192.168.64.254", "[fd00:64::ffff:ffff:ffff:fffe]"];
    for again in [false, true] {
        for host in hosts {
            // Whichever of the two the service is on, and whichever the program tries.
            for port in [4000, 6000] {
                let address = format!("{host}:{port}");
                let answer = ask(&a.namespace, &address).unwrap();
                assert!(answer.ends_with(" hello"), "{address}: {answer}");
                let answer = ask_udp(&a.namespace, &address).unwrap();
                assert!(answer.ends_with(" hello"), "{address}: {answer}");
            }
            // Nobody there: refused, at once, and as often as it is tried.
            let begun = Instant::now();
            for port in [1, 53, 4001, 65535] {
                let address = format!("{host}:{port}");
                for error in [
                    ask(&a.namespace, &address).unwrap_err(),
                    ask_udp(&a.namespace, &address).unwrap_err(),
                ] {
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(3));
        }
        assert!(a.pings("192.168.64.254") && a.pings("fd00:64::ffff:ffff:ffff:fffe"));
        // Datagrams of any size, both ways.
        let big = vec![b'x'; 40_000];
        let told = a.namespace.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(&big, "192.168.64.254:4002").unwrap_or(0);
            let echo = world
                .host
                .run(|| std::net::UdpSocket::bind("127.0.0.1:4002").unwrap());
            let mut buffer = vec![0; 65_535];
            socket.connect("192.168.64.254:4002").unwrap();
            loop {
                // It was refused before the service was there.
                if socket.send(&big).is_ok() {
                    break;
                }
            }
            echo.set_read_timeout(Some(PATIENCE)).unwrap();
            let (length, from) = echo.recv_from(&mut buffer).unwrap();
            echo.send_to(&buffer[..length], from).unwrap();
            loop {
                match socket.recv(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                    length => break length.unwrap(),
                }
            }
        });
        assert_eq!(told, big.len());
        if !again {
            network.kill();
            for host in hosts {
                assert!(ask(&a.namespace, &format!("{host}:4000")).is_err());
            }
            network.start();
        }
    }
}

#[test]
fn the_process_that_reads_messages_is_confined_and_replaced() {
    for who in [As::Root, As::User] {
        let world = World::of(who);
        let network = world.network("one", |_| ());
        let a = network.guest("a");
        let process = || {
            let children = format!("cat /proc/{}/task/*/children", network.pid());
            let children = world.host.sh(&children);
            let answers = |pid: &&str| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.ends_with(b"\0names\0")
            };
            children.split_whitespace().find(answers).map(str::to_owned)
        };
        let first = process().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{first}/status")).unwrap();
        for line in [
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
        ] {
            assert!(status.contains(line), "{line}: {status}");
        }
        // Questions wait for the next one.
        world.host.sh(&format!("kill -9 {first}"));
        assert_eq!(
            addresses(&a.namespace, GATEWAY, "a", A).unwrap(),
            [a.ipv4()]
        );
        // One that hangs knows nothing new: it is replaced.
        let second = process().unwrap();
        assert_ne!(second, first);
        world.host.sh(&format!("kill -STOP {second}"));
        let b = network.guest("b");
        assert_eq!(
            addresses(&a.namespace, GATEWAY, "b", A).unwrap(),
            [b.ipv4()]
        );
    }
}

#[test]
fn a_container_on_several_networks_finds_the_names_of_all() {
    for who in [As::Root, As::User] {
        let world = World::of(who);
        let one = world.network("one", |_| ());
        let mut two = world.network("two", |configuration| {
            configuration["ipv4Subnet"] = "192.168.65.0/24".into();
            configuration["ipv6Subnet"] = "fd00:65::/64".into();
        });
        let (a, both, b) = (one.guest("a"), one.guest("both"), two.guest("b"));
        let names = |container: &str, names: &[&str], also: &[&str]| AllocateRequest {
            container: container.into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            also: also.iter().map(|name| (*name).to_owned()).collect(),
            ..AllocateRequest::default()
        };
        one.allocate(names("both", &["both"], &["gone", "two"]))
            .unwrap();
        two.allocate(names("b", &["b", "db"], &[])).unwrap();
        let found = |name: &str, kind| addresses(&both.namespace, GATEWAY, name, kind);
        for name in ["b", "DB", "b.two", "db.two"] {
            assert_eq!(found(name, A).unwrap(), [b.ipv4()], "{name}");
            assert_eq!(found(name, AAAA).unwrap(), [b.ipv6()], "{name}");
        }
        assert!(found("db", MX).unwrap().is_empty());
        let last = b.ipv4().rsplit('.').next().unwrap();
        let reversed = format!("{last}.65.168.192.in-addr.arpa");
        assert_eq!(found(&reversed, PTR).unwrap(), ["b."]);
        // Its own network first; and who is on one network knows no other.
        assert_eq!(found("a", A).unwrap(), [a.ipv4()]);
        for name in ["b", "db"] {
            let strange = addresses(&a.namespace, GATEWAY, name, A);
            assert_eq!(strange, Err(ResponseCode::NXDomain), "{name}");
        }
        assert_eq!(found("nobody", A), Err(ResponseCode::NXDomain));
        // A network that does not answer takes its names alone with it.
        two.kill();
        assert_eq!(found("db", A), Err(ResponseCode::NXDomain));
        assert_eq!(found("a", A).unwrap(), [a.ipv4()]);
        let outside = one.allocate(names("both", &["both"], &["../two"]));
        assert!(outside.unwrap_err().message().contains("../two"));
    }
}

#[test]
fn no_name_of_a_network_is_in_the_way_of_another() {
    let world = World::new();
    let change = |subnet: &'static str| {
        move |configuration: &mut serde_json::Value| {
            configuration["ipv4Subnet"] = subnet.into();
            configuration.as_object_mut().unwrap().remove("ipv6Subnet");
        }
    };
    let networks = [
        world.network("x", change("192.168.64.0/24")),
        world.network("x-descriptors", change("192.168.65.0/24")),
        world.network("taps-x", change("192.168.66.0/24")),
    ];
    for network in &networks {
        let guest = network.guest("a");
        assert!(guest.pings(&guest.addresses.gateway));
    }
}

#[test]
fn domains_make_containers_known_to_the_host() {
    let world = World::new();
    let asked = dns::serve(&world.outside, PEER);
    std::fs::write(world.resolv_conf(), format!("nameserver {PEER}\n")).unwrap();
    let mut network = world.network("one", |_| ());
    let (a, b) = (network.guest("a"), network.guest("b"));
    let domains = serde_json::json!([
        {"domain": "test"}, {"domain": "db.test", "localhost": "203.0.113.113"}
    ]);
    // No resolver of the host can be told.
    let problem = network.domains(&domains);
    assert!(problem.starts_with("resolvectl: "), "{problem}");
    let calls = world.stand_in("resolvectl");
    let told = || std::fs::read_to_string(&calls).unwrap();
    assert_eq!(network.domains(&domains), "");
    let link = world.host.sh("ip -o link");
    let link = link
        .split_whitespace()
        .find(|word| word.starts_with("cnb"))
        .unwrap();
    let link = link.split('@').next().unwrap();
    assert_eq!(
        told(),
        format!(
            "dns {link} {GATEWAY} {GATEWAY6}\ndomain {link} ~test ~db.test\ndefault-route {link} false\n"
        )
    );
    // Host and containers know them, a name of nobody's is not asked for elsewhere.
    for from in [&world.host, &a.namespace] {
        let found = |name: &str, kind| addresses(from, GATEWAY, name, kind);
        assert_eq!(found("B.test", A).unwrap(), [b.ipv4()]);
        assert_eq!(found("b.test", AAAA).unwrap(), [b.ipv6()]);
        for name in ["absent.test", "test", "b.db.test", "x.a.test"] {
            assert_eq!(found(name, A), Err(ResponseCode::NXDomain), "{name}");
        }
    }
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
    // The host's loopback by another name: to the host itself, and to a container.
    let port = serve(&world.host, "127.0.0.1:0").port();
    assert_eq!(
        addresses(&world.host, GATEWAY, "db.test", A).unwrap(),
        ["127.0.0.1"]
    );
    let host = addresses(&a.namespace, GATEWAY, "db.test", A).unwrap();
    assert!(ask(&a.namespace, &format!("{}:{port}", host[0])).is_ok());
    // The next process is told anew, as is one whose domains are gone.
    network.kill();
    network.start();
    assert_eq!(addresses(&world.host, GATEWAY, "b", A).unwrap(), [b.ipv4()]);
    assert_eq!(network.domains(&domains), "");
    assert_eq!(
        addresses(&world.host, GATEWAY, "b.test", A).unwrap(),
        [b.ipv4()]
    );
    assert_eq!(network.domains(&serde_json::json!([])), "");
    assert!(told().ends_with(&format!("revert {link}\n")));
    addresses(&world.host, GATEWAY, "b.test", A).unwrap_err();
    // Whatever is taken, the host is found where containers look for it.
    let all = serde_json::json!([{"domain": "internal"}]);
    network.domains(&all);
    for name in ["host.container.internal", "host.docker.internal"] {
        assert_eq!(
            addresses(&a.namespace, GATEWAY, name, A).unwrap(),
            host,
            "{name}"
        );
    }
    assert_eq!(
        addresses(&a.namespace, GATEWAY, "b.internal", A).unwrap(),
        [b.ipv4()]
    );
    assert_eq!(network.domains(&serde_json::json!([])), "");
    // Containers come and go while the host's resolver takes its time.
    let gate = calls.with_file_name("gate");
    let made = std::process::Command::new("mkfifo")
        .arg(&gate)
        .status()
        .unwrap();
    assert!(made.success());
    let script = format!("#!/bin/sh\nread line <{}\n", gate.display());
    std::fs::write(calls.with_file_name("resolvectl"), script).unwrap();
    std::thread::scope(|scope| {
        let told = scope.spawn(|| network.domains(&domains));
        // It is open when the other side reads.
        let held = std::fs::File::options().write(true).open(&gate).unwrap();
        network.guest("c");
        assert!(!told.is_finished());
        drop(held);
        let problem = told.join().unwrap();
        assert!(problem.starts_with("resolvectl: "), "{problem}");
    });
    let many: Vec<_> = (0..33)
        .map(|number| serde_json::json!({"domain": format!("d{number}")}))
        .collect();
    let many = serde_json::Value::from(many)
        .to_string()
        .into_bytes()
        .into();
    let refused = network.call(|mut client| async move {
        let request = container_api::network::DomainsRequest { domains: many };
        client.domains(request).await
    });
    assert!(refused.unwrap_err().message().contains("at most 32"));
}
