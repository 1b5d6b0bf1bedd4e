//! What containers may reach outside of their network.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::time::{Duration, Instant};

use container_api::network::{
    AllocateRequest, AttachRequest, Destination, Egress, Protocol, RuleCount,
};
use container_resource::egress::EVERYTHING_ELSE;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{A, AAAA};
use world::dns::{self, addresses};
use world::guest::Guest;
use world::{
    As, HOST, HOST6, Network, PATIENCE, PEER, SERVER, SERVER6, World, ask, ask_udp, serve,
    serve_udp,
};

const GATEWAY: &str = "192.168.64.1";
/// Under which containers reach the host.
const HOST_INSIDE6: &str = "fd00:64::ffff:ffff:ffff:fffe";

fn rules(rules: &[&str]) -> AttachRequest {
    let allow = rules.iter().map(|&rule| rule.into()).collect();
    AttachRequest {
        egress: Some(Egress { allow }),
        ..AttachRequest::default()
    }
}

/// Waits until a user's way out is there: beside the network, it starts.
fn leads_out(network: &Network, server: &str) {
    let first = network.guest("first");
    let begun = Instant::now();
    while ask(&first.namespace, server).is_err() {
        assert!(begun.elapsed() < PATIENCE, "nothing leaves");
    }
    network.detach("first");
}

fn packets(counts: &[RuleCount], rule: &str) -> u64 {
    counts
        .iter()
        .find(|count| count.rule == rule)
        .unwrap()
        .packets
}

/// The names that a container was refused, with the number of their questions, when there were `questions` for `name`.
fn names_refused(
    network: &Network,
    container: &str,
    name: &str,
    questions: u64,
) -> Vec<(String, u64)> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let counts = network.member(container).refused_names;
        let counts: Vec<_> = counts
            .into_iter()
            .map(|count| (count.name, count.questions))
            .collect();
        if counts.contains(&(name.to_owned(), questions)) {
            return counts;
        }
        assert!(Instant::now() < deadline, "{counts:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn names_that_are_refused_are_counted_and_bounded() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let (a, _) = network.guest_with("a", rules(&["www.example.org"]));
    for number in 0..100 {
        let name = format!("{number}.secret.example.com");
        let answer = addresses(&a.namespace, GATEWAY, &name, A);
        assert_eq!(answer, Err(ResponseCode::Refused));
    }
    let named = names_refused(&network, "a", "99.secret.example.com", 1);
    let member = network.member("a");
    assert_eq!((named.len(), member.refused_other_names), (32, 68));
    // Another run counts anew, and one without rules is refused nothing.
    drop(a);
    network.detach("a");
    let (a, _) = network.guest_with("a", rules(&["www.example.org"]));
    assert_eq!(network.member("a").refused_names, []);
    assert!(addresses(&a.namespace, GATEWAY, "x.example.com", A).is_err());
    assert_eq!(names_refused(&network, "a", "x.example.com", 1).len(), 1);
}

/// Nobody gave a guest its link-local address, and it may send from it.
#[test]
fn rules_hold_for_datagrams_to_the_host_from_every_address() {
    datagrams_to_the_host(As::Root);
}

#[test]
fn also_to_a_user_s_host() {
    datagrams_to_the_host(As::User);
}

fn datagrams_to_the_host(who: As) {
    let world = World::of(who);
    serve_udp(&world.host, "[::1]:5300");
    let network = world.network("one", |_| ());
    let (open, _) = network.guest_with("open", AttachRequest::default());
    assert!(ask_udp(&open.namespace, &format!("[{HOST_INSIDE6}]:5300")).is_ok());
    let (a, _) = network.guest_with("a", rules(&[]));
    let shown = a.namespace.sh("cat /proc/net/if_inet6");
    let line = shown.lines().find(|line| line.starts_with("fe80")).unwrap();
    let mut words = line.split_whitespace();
    let address = u128::from_str_radix(words.next().unwrap(), 16).unwrap();
    let index = u32::from_str_radix(words.next().unwrap(), 16).unwrap();
    let link_local = SocketAddrV6::new(Ipv6Addr::from_bits(address), 0, 0, index);
    let given: Ipv6Addr = a.ipv6().parse().unwrap();
    for (from, refused) in [(SocketAddrV6::new(given, 0, 0, 0), 1), (link_local, 2)] {
        let answer = a.namespace.run(|| {
            let socket = UdpSocket::bind(from).unwrap();
            let patience = Duration::from_secs(1);
            socket.set_read_timeout(Some(patience)).unwrap();
            let to: Ipv6Addr = HOST_INSIDE6.parse().unwrap();
            socket.send_to(b"?", (to, 5300)).unwrap();
            socket.recv(&mut [0; 64])
        });
        assert!(answer.is_err(), "{from}");
        let counts = network.member("a").egress;
        assert_eq!(packets(&counts, EVERYTHING_ELSE), refused, "{from}");
    }
    // Nothing of it stays for whoever comes next.
    drop(a);
    network.detach("a");
    let (a, _) = network.guest_with("a", AttachRequest::default());
    assert!(ask_udp(&a.namespace, &format!("[{HOST_INSIDE6}]:5300")).is_ok());
}

#[test]
fn a_rule_is_for_its_ports_and_its_protocol() {
    ports_and_protocols(As::Root);
}

#[test]
fn also_on_a_user_s_network() {
    ports_and_protocols(As::User);
}

fn ports_and_protocols(who: As) {
    let world = World::of(who);
    for port in 8000..8004 {
        serve(&world.outside, &format!("[::]:{port}"));
        serve_udp(&world.outside, &format!("{SERVER}:{port}"));
    }
    let network = world.network("one", |_| ());
    leads_out(&network, &format!("{SERVER}:8000"));
    let (tcp, udp) = (
        format!("{SERVER}:8001-8002/tcp"),
        format!("{SERVER}:8002-8003/udp"),
    );
    let both = format!("[{SERVER6}]:8000-8001");
    let (a, _) = network.guest_with("a", rules(&[&tcp, &udp, &both]));
    for (port, tcp, udp, tcp6) in [
        (8000, false, false, true),
        (8001, true, false, true),
        (8002, true, true, false),
        (8003, false, true, false),
    ] {
        let reached = (
            ask(&a.namespace, &format!("{SERVER}:{port}")).is_ok(),
            ask_udp(&a.namespace, &format!("{SERVER}:{port}")).is_ok(),
            ask(&a.namespace, &format!("[{SERVER6}]:{port}")).is_ok(),
        );
        assert_eq!(reached, (tcp, udp, tcp6), "{port}");
    }
    // What was refused is known by address and port, and no more of it than there is room for.
    let refused = |port: u32, protocol: Protocol, address: &str| Destination {
        address: address.into(),
        port,
        protocol: protocol.into(),
    };
    let told = network.member("a").refused_destinations;
    let expected = [
        refused(8000, Protocol::Tcp, SERVER),
        refused(8000, Protocol::Udp, SERVER),
        refused(8001, Protocol::Udp, SERVER),
        refused(8003, Protocol::Tcp, SERVER),
        refused(8002, Protocol::Tcp, SERVER6),
        refused(8003, Protocol::Tcp, SERVER6),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    assert!(expected.iter().all(|one| told.contains(one)), "{told:?}");
    for port in 9000..9100 {
        assert!(ask(&a.namespace, &format!("{SERVER}:{port}")).is_err());
    }
    let told = network.member("a").refused_destinations;
    assert_eq!(told.len(), 32 + 2, "{told:?}");
}

#[test]
fn addresses_are_allowed_by_rules_and_counted() {
    addresses_and_counts(As::Root);
}

#[test]
fn and_by_a_user_s() {
    addresses_and_counts(As::User);
}

fn addresses_and_counts(who: As) {
    let world = World::of(who);
    for at in ["[::]:80", "[::]:81"] {
        serve(&world.outside, at);
    }
    serve_udp(&world.outside, &format!("{SERVER}:80"));
    serve(&world.host, "127.0.0.1:4000");
    serve(&world.host, "127.0.0.1:4001");
    for at in ["[::]:4002", "[::]:4003"] {
        serve(&world.host, at);
    }
    let by_lan = format!("{HOST}/32:4002");
    let mut network = world.network("one", |_| ());
    leads_out(&network, &format!("{SERVER}:80"));
    let (a, _) = network.guest_with("a", rules(&[]));
    let allowed = format!("{SERVER}/32:80");
    let (b, _) = network.guest_with(
        "b",
        rules(&[
            &allowed,
            "2001:db8:2::/64",
            "host.container.internal:4000",
            &by_lan,
        ]),
    );
    for again in [false, true] {
        // Nothing but the network.
        assert!(a.pings(b.ipv4()) && a.hears_nothing_of(SERVER));
        let begun = std::time::Instant::now();
        for address in [
            format!("{SERVER}:80"),
            format!("[{SERVER6}]:80"),
            "192.168.64.254:4000".into(),
            format!("{HOST}:4002"),
            format!("[{HOST6}]:4002"),
        ] {
            assert!(ask(&a.namespace, &address).is_err(), "{address}");
        }
        // It is told at once.
        assert!(begun.elapsed().as_secs() < 2);
        assert!(ask(&b.namespace, &format!("{SERVER}:80")).is_ok());
        assert!(ask_udp(&b.namespace, &format!("{SERVER}:80")).is_ok());
        assert!(ask(&b.namespace, &format!("{SERVER}:81")).is_err());
        assert!(ask(&b.namespace, &format!("{PEER}:80")).is_err());
        for port in [80, 81] {
            assert!(ask(&b.namespace, &format!("[{SERVER6}]:{port}")).is_ok());
        }
        assert!(ask(&b.namespace, "192.168.64.254:4000").is_ok());
        assert!(ask(&b.namespace, "192.168.64.254:4001").is_err());
        // Of the host itself, by its address, what is allowed and no more.
        assert!(ask(&b.namespace, &format!("{HOST}:4002")).is_ok());
        for address in [format!("{HOST}:4003"), format!("[{HOST6}]:4002")] {
            assert!(ask(&b.namespace, &address).is_err(), "{address}");
        }
        let counts = network.member("b").egress;
        assert_eq!(counts.len(), 5);
        assert!(packets(&counts, &by_lan) >= 1);
        assert!(packets(&counts, &allowed) >= 2 && packets(&counts, "2001:db8:2::/64") >= 2);
        assert!(packets(&counts, EVERYTHING_ELSE) >= 2, "{counts:?}");
        assert!(packets(&network.member("a").egress, EVERYTHING_ELSE) >= 2);
        if !again {
            network.kill();
            network.start();
        }
    }
    // Another container that gets its tap or its address is not bound by its rules.
    network.detach("b");
    drop(b);
    let (b, _) = network.guest_with("b", rules(&["0.0.0.0/0"]));
    assert!(ask(&b.namespace, &format!("{PEER}:80")).is_ok());
}

#[test]
fn a_container_s_rules_narrow_those_of_its_network() {
    rules_of_both(As::Root);
}

#[test]
fn and_those_of_a_user_s() {
    rules_of_both(As::User);
}

fn rules_of_both(who: As) {
    let world = World::of(who);
    dns::serve(&world.outside, PEER);
    std::fs::write(world.resolv_conf(), format!("nameserver {PEER}\n")).unwrap();
    for port in 80..83 {
        serve(&world.outside, &format!("[::]:{port}"));
    }
    serve(&world.host, "127.0.0.1:4000");
    let (low, high) = (format!("{SERVER}/32:80-81"), format!("{SERVER}/32:81-82"));
    let mut network = world.network("one", |configuration| {
        let egress = [&low, "www.example.org", "host.container.internal:4000"];
        configuration["egress"] = serde_json::json!(egress);
    });
    leads_out(&network, &format!("{SERVER}:80"));
    let of_network = network.guest("a");
    let (wide, _) = network.guest_with("b", rules(&["0.0.0.0/0", "::/0"]));
    let (narrow, _) = network.guest_with("c", rules(&[&high, "*.example.org", "*.example.com"]));
    let (none, _) = network.guest_with("d", rules(&[]));
    let host = "192.168.64.254:4000";
    let reaches = |guest: &world::guest::Guest, at: &str| ask(&guest.namespace, at).is_ok();
    let finds = |guest: &world::guest::Guest, name: &str| {
        addresses(&guest.namespace, GATEWAY, name, AAAA) != Err(ResponseCode::Refused)
    };
    for again in [false, true] {
        for (guest, ports, reached, names) in [
            (&of_network, [true, true, false], true, [true, false, false]),
            (&wide, [true, true, false], true, [false, false, false]),
            (&narrow, [false, true, false], false, [true, false, false]),
            (&none, [false, false, false], false, [false, false, false]),
        ] {
            let found = [80, 81, 82].map(|port| reaches(guest, &format!("{SERVER}:{port}")));
            assert_eq!(found, ports);
            assert_eq!(reaches(guest, host), reached);
            let found = ["www.example.org", "other.example.org", "www.example.com"];
            assert_eq!(found.map(|name| finds(guest, name)), names);
            // What a name stands for, where both let it be asked for.
            assert_eq!(reaches(guest, &format!("[{SERVER6}]:80")), names[0]);
        }
        if !again {
            network.kill();
            network.start();
        }
    }
    // Its own rules are told, and what either refused.
    let counts = network.member("c").egress;
    let told: Vec<_> = counts.iter().map(|count| count.rule.as_str()).collect();
    assert_eq!(
        told,
        [
            high.as_str(),
            "*.example.org",
            "*.example.com",
            EVERYTHING_ELSE
        ]
    );
    assert!(packets(&counts, &high) >= 2 && packets(&counts, "*.example.org") >= 2);
    assert!(packets(&counts, EVERYTHING_ELSE) >= 4, "{counts:?}");
    // Nothing is left of it for the next one.
    network.detach("c");
    drop(narrow);
    let (next, _) = network.guest_with("c", rules(&[&low]));
    assert!(reaches(&next, &format!("{SERVER}:80")));
}

#[test]
fn a_long_name_is_a_rule_as_any_other() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let label = "a".repeat(60);
    let long = format!("*.{label}.{label}.{label}.example.org:443");
    let (a, _) = network.guest_with("a", rules(&[&long]));
    assert!(ask(&a.namespace, &format!("{SERVER}:80")).is_err());
    let counts = network.member("a").egress;
    assert!(packets(&counts, &long) == 0 && packets(&counts, EVERYTHING_ELSE) >= 1);
}

#[test]
fn a_name_does_not_open_what_is_not_outside() {
    let world = World::new();
    dns::serve(&world.outside, PEER);
    std::fs::write(world.resolv_conf(), format!("nameserver {PEER}\n")).unwrap();
    world.outside.sh("ip address add 10.9.9.9/32 dev lo");
    serve(&world.outside, "[::]:80");
    let network = world.network("one", |_| ());
    let (a, _) = network.guest_with("a", rules(&["*.example.org"]));
    let (b, _) = network.guest_with("b", rules(&["*.example.org", "10.9.0.0/16"]));
    for guest in [&a, &b] {
        for name in ["private.example.org", "host.example.org"] {
            assert!(addresses(&guest.namespace, GATEWAY, name, A).is_ok());
        }
    }
    assert!(ask(&a.namespace, "10.9.9.9:80").is_err());
    assert!(ask(&b.namespace, "10.9.9.9:80").is_ok());
    serve(&world.host, &format!("{HOST}:80"));
    assert!(ask(&a.namespace, &format!("{HOST}:80")).is_err());
    assert_eq!(packets(&network.member("a").egress, "*.example.org"), 0);
    // It is told as a name that was refused; not to whom a rule gives the address.
    names_refused(&network, "a", "private.example.org", 1);
    assert!(network.member("b").refused_names.is_empty());
}

#[test]
fn names_are_allowed_by_what_the_resolver_answered() {
    answered_names(As::Root);
}

#[test]
fn and_by_what_a_user_s_did() {
    answered_names(As::User);
}

fn answered_names(who: As) {
    let world = World::of(who);
    let asked = dns::serve(&world.outside, PEER);
    std::fs::write(world.resolv_conf(), format!("nameserver {PEER}\n")).unwrap();
    for at in ["[::]:80", "[::]:81"] {
        serve(&world.outside, at);
    }
    let mut network = world.network("one", |_| ());
    leads_out(&network, &format!("{SERVER}:80"));
    let (a, _) = network.guest_with("a", rules(&["www.example.org:80", "inside.example.org"]));
    let (b, _) = network.guest_with("b", rules(&["*.example.org"]));
    let server = format!("{SERVER}:80");
    // Not before it is asked for.
    assert!(ask(&a.namespace, &server).is_err());
    assert_eq!(
        addresses(&a.namespace, GATEWAY, "www.example.org", A).unwrap(),
        [SERVER]
    );
    for again in [false, true] {
        assert!(ask(&a.namespace, &server).is_ok());
        assert!(ask(&a.namespace, &format!("{SERVER}:81")).is_err());
        assert!(ask(&a.namespace, &format!("[{SERVER6}]:80")).is_err());
        // What one has asked for opens nothing to another.
        assert!(ask(&b.namespace, &server).is_err());
        if !again {
            network.kill();
            network.start();
        }
    }
    assert_eq!(
        addresses(&a.namespace, GATEWAY, "www.example.org", AAAA).unwrap(),
        [SERVER6]
    );
    assert!(ask(&a.namespace, &format!("[{SERVER6}]:80")).is_ok());
    assert!(packets(&network.member("a").egress, "www.example.org:80") >= 2);
    // Other names are not even asked for: questions carry words out.
    let before = asked.lock().unwrap().len();
    for name in ["other.example.org", "secret.www.example.org", "example.com"] {
        assert_eq!(
            addresses(&a.namespace, GATEWAY, name, A),
            Err(ResponseCode::Refused),
            "{name}"
        );
    }
    assert_eq!(
        addresses(&b.namespace, GATEWAY, "example.org", A),
        Err(ResponseCode::Refused)
    );
    // Nor by another address of the same machine.
    let link_local = a.namespace.sh("ip -o -6 address show dev eth0 scope link");
    assert!(link_local.contains("fe80::"), "{link_local}");
    let link_local = link_local.split_whitespace().nth(3).unwrap();
    let link_local = link_local.split('/').next().unwrap();
    let from = |source: &str, name: &str| dns::code_from(&a.namespace, source, "fd00:64::1", name);
    assert_eq!(from(link_local, "example.com"), Some(ResponseCode::Refused));
    assert_eq!(from(link_local, "b"), Some(ResponseCode::NoError));
    assert_eq!(asked.lock().unwrap().len(), before);
    // What was refused is told by name; what is known here was not.
    let refused = names_refused(&network, "a", "example.com", 2);
    let names = ["other.example.org", "secret.www.example.org", "example.com"];
    assert_eq!(
        refused.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        names
    );
    assert_eq!(names_refused(&network, "b", "example.org", 1).len(), 1);
    assert!(addresses(&b.namespace, GATEWAY, "deep.www.example.org", A).is_ok());
    assert!(ask(&b.namespace, &server).is_ok());
    // Containers find each other all the same.
    assert_eq!(
        addresses(&a.namespace, GATEWAY, "b", A).unwrap(),
        [b.ipv4()]
    );
}

/// The sets of what names resolved to.
fn sets_of_names(network: &Network) -> Vec<serde_json::Value> {
    let listed = network.sh("nft -j list table inet container");
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let objects = listed["nftables"].as_array().unwrap().iter();
    let sets = objects.map(|object| &object["set"]).filter(|set| {
        let name = set["name"].as_str();
        name.is_some_and(|name| name.starts_with("names_"))
    });
    sets.cloned().collect()
}

/// For how many seconds rules with names lead to [`SERVER`].
fn held(network: &Network) -> Option<u64> {
    let sets = sets_of_names(network);
    let elements = sets.iter().filter_map(|set| set["elem"].as_array());
    let mut elements = elements.flatten().map(|element| &element["elem"]);
    let found = elements.find(|element| element["val"] == SERVER)?;
    Some(found["timeout"].as_u64().expect("a time"))
}

#[test]
fn an_address_stays_open_as_long_as_the_newest_answer_holds_and_no_longer() {
    let world = World::new();
    dns::serve(&world.outside, PEER);
    std::fs::write(world.resolv_conf(), format!("nameserver {PEER}\n")).unwrap();
    serve(&world.outside, "[::]:80");
    let network = world.network("one", |_| ());
    let (a, _) = network.guest_with("a", rules(&["*.example.org:80"]));
    let learn = |name: &str| {
        let found = addresses(&a.namespace, GATEWAY, name, A).unwrap();
        assert_eq!(found, [SERVER]);
        held(&network).unwrap()
    };
    assert_eq!(held(&network), None);
    // An answer for a second is good for the shortest time, and somewhat more.
    let short = learn("www.example.org");
    assert!((60..=90).contains(&short), "{short}");
    let long = learn("long.example.org");
    assert!((7200..=10_800).contains(&long), "{long}");
    assert_eq!(learn("www.example.org"), long);
    let server = format!("{SERVER}:80");
    assert!(ask(&a.namespace, &server).is_ok());
    // The kernel's clock does not wait for a test: it is given less time.
    let sets = sets_of_names(&network);
    let mut names = sets.iter().map(|set| set["name"].as_str().unwrap());
    let set = names.find(|name| name.ends_with("_4")).unwrap();
    network.sh(&format!(
        "nft 'delete element inet container {set} {{ {SERVER} }}; add element inet container {set} {{ {SERVER} timeout 1s }}'"
    ));
    let begun = Instant::now();
    while ask(&a.namespace, &server).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it stays open");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(held(&network), None);
}

/// Rules are for one network each, and the host is on all of them.
#[test]
fn the_host_s_name_is_that_of_a_network_that_leads_there() {
    let world = World::new();
    let front = world.network("front", |_| ());
    let back = world.network("back", |configuration| {
        configuration["ipv4Subnet"] = "192.168.65.0/24".into();
        configuration["ipv6Subnet"] = "fd00:65::/64".into();
    });
    let join = |network: &Network, other: &str, allowed: Option<&[&str]>| {
        let names = AllocateRequest {
            container: "a".into(),
            names: vec!["a".into()],
            also: vec![other.into()],
            ..AllocateRequest::default()
        };
        network.allocate(names).unwrap();
        let request = AttachRequest {
            container: "a".into(),
            ..allowed.map_or_else(AttachRequest::default, rules)
        };
        network.attach(request).unwrap()
    };
    let (here, there) = ("192.168.64.254", "192.168.65.254");
    for (on_front, on_back, expected) in [
        (None, Some(&[][..]), here),
        (Some(&[][..]), None, there),
        (
            Some(&["10.0.0.1"][..]),
            Some(&["host.container.internal:4000"][..]),
            there,
        ),
        (Some(&["*.docker.internal"][..]), None, there),
        (Some(&["192.168.64.254/32:4000"][..]), None, here),
        (Some(&["host.docker.internal"][..]), None, here),
        // Then the rules of the first one say what was refused.
        (Some(&[][..]), Some(&["10.0.0.1"][..]), here),
    ] {
        let (reply, tap) = join(&front, "back", on_front);
        let (_, other) = join(&back, "front", on_back);
        let a = Guest::start(tap, reply.addresses.unwrap());
        for name in ["host.container.internal", "HOST.docker.internal"] {
            let found = addresses(&a.namespace, GATEWAY, name, A);
            assert_eq!(found.unwrap(), [expected], "{on_front:?} {on_back:?}");
        }
        drop((a, other));
        front.detach("a");
        back.detach("a");
    }
}
