//! What the host has of a network whose processes were all killed at once.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use container_api::network::{AttachRequest, Port, Protocol};
use world::namespace::Namespace;
use world::{World, ask};

fn has_table(host: &Namespace) -> bool {
    host.sh("nft list tables").contains("table inet cnb")
}

fn web() -> AttachRequest {
    let port = Port {
        host_address: String::new(),
        host_port: 8080,
        container_port: 80,
        protocol: Protocol::Tcp.into(),
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
