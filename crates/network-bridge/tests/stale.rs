//! What the host has of a network whose processes were all killed at once.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use container_api::network::{AttachRequest, Port, Protocol};
use world::namespace::Namespace;
use world::{HOST, World, ask};

fn has_table(host: &Namespace) -> bool {
    host.sh("nft list tables").contains("table inet cnb")
}

/// Waits until so many networks have an interface there: the kernel removes it behind the end of a namespace.
fn links_are(host: &Namespace, count: usize) {
    let begun = std::time::Instant::now();
    while host.sh("ip -o link").matches("cnb").count() != count {
        assert!(begun.elapsed() < world::PATIENCE, "interfaces stay");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn web() -> AttachRequest {
    let port = Port {
        host_address: String::new(),
        host_port: 8080,
        container_port: 80,
        protocol: Protocol::Tcp.into(),
        ..Port::default()
    };
    AttachRequest {
        ports: vec![port],
        ..AttachRequest::default()
    }
}

#[test]
fn a_network_without_processes_is_cleaned_from_the_host() {
    let world = World::new();
    let program = env!("CARGO_BIN_EXE_container-network-bridge");
    let mut network = world.network("one", |_| ());
    let clean = format!("{program} clean --state {}", network.state.display());
    // One that is served is left alone.
    let (words, cleaned) = world.host.try_sh(&clean);
    assert!(!cleaned && words.contains("serves the network"), "{words}");
    let (guest, _) = network.guest_with("web", web());
    network.kill();
    // As is one whose namespace is there.
    world.host.sh(&clean);
    assert!(has_table(&world.host));
    network.kill_holder();
    drop(guest);
    assert!(has_table(&world.host));
    world.host.sh(&clean);
    assert!(!has_table(&world.host));
    // The next process does it by itself, before another program's port is led away.
    network.start();
    let (guest, _) = network.guest_with("web", web());
    network.kill();
    network.kill_holder();
    drop(guest);
    world::serve(&world.host, "127.0.0.1:8080");
    assert!(ask(&world.host, "127.0.0.1:8080").is_err());
    network.start();
    assert!(!network.member("web").attached);
    assert_eq!(
        ask(&world.host, "127.0.0.1:8080").unwrap(),
        "127.0.0.1 hello"
    );
}

#[test]
fn what_networks_that_are_gone_have_left_goes_with_the_next_start() {
    let world = World::new();
    let living = world.network("living", |configuration| {
        configuration["ipv4Subnet"] = "192.168.65.0/24".into();
        configuration["ipv6Subnet"] = "fd00:65::/64".into();
    });
    let (guest, _) = living.guest_with("web", web());
    world::serve(&guest.namespace, "0.0.0.0:80");
    let tables = || world.host.sh("nft list tables");
    let before = tables();
    // Somebody else's, by names that are much like ours.
    world
        .host
        .sh("nft add table inet cnbother; nft add table ip cnb0123456789");
    let others = tables();
    // A network whose processes were killed, and its directory removed.
    let mut gone = world.network("gone", |_| ());
    gone.kill();
    gone.kill_holder();
    links_are(&world.host, 1);
    std::fs::remove_dir_all(&gone.state).unwrap();
    assert_ne!(tables(), others);
    let mut next = world.network("next", |configuration| {
        configuration["ipv4Subnet"] = "192.168.66.0/24".into();
        configuration["ipv6Subnet"] = "fd00:66::/64".into();
    });
    next.stop();
    assert_eq!(tables(), others);
    let ours = |tables: &str| tables.matches("cnb").count();
    assert_eq!(ours(&others), ours(&before) + 2);
    // Where none is started it can be asked for, by whoever has no directory to name.
    let mut gone = world.network("gone", |_| ());
    gone.kill();
    gone.kill_holder();
    links_are(&world.host, 1);
    assert_ne!(tables(), others);
    let program = env!("CARGO_BIN_EXE_container-network-bridge");
    world.host.sh(&format!("{program} clean"));
    assert_eq!(tables(), others);
    // The one that lives has its ports all the while.
    assert!(ask(&world.host, &format!("{HOST}:8080")).is_ok());
}

#[test]
fn a_network_whose_directory_is_removed_ends() {
    let world = World::new();
    let mut network = world.network("one", |_| ());
    std::fs::remove_dir_all(&network.state).unwrap();
    network.ends();
    assert_eq!(world.host.sh("nft list tables"), "");
    assert_eq!(world.host.sh("ip -o link").lines().count(), 2);
}
