//! A network with a hundred containers: each costs what the first one did, and they leave each other in peace.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::time::{Duration, Instant};

use container_api::network::{AllocateRequest, AttachRequest};
use hickory_proto::rr::RecordType::{A, AAAA};
use world::dns::addresses;
use world::guest::Guest;
use world::{Network, PATIENCE, World};

const GATEWAY: &str = "192.168.64.1";
const MEMBERS: usize = 100;

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

/// Packets that were given to all machines so far.
fn delivered(network: &Network<'_>) -> u64 {
    let links: serde_json::Value = serde_json::from_str(&network.sh("ip -j -s link")).unwrap();
    let taps = links.as_array().unwrap().iter().filter(|link| {
        let name = link["ifname"].as_str().unwrap();
        name.starts_with("tap")
    });
    let counts = taps.map(|tap| tap["stats64"]["tx"]["packets"].as_u64().unwrap());
    counts.sum()
}

#[test]
fn a_hundred_containers_join_as_fast_as_the_first_and_find_each_other() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let (mut times, mut guests) = (Vec::new(), Vec::new());
    for number in 0..MEMBERS {
        let container = format!("c{number}");
        let begun = Instant::now();
        network
            .allocate(AllocateRequest {
                container: container.clone(),
                names: vec![container.clone()],
                ..AllocateRequest::default()
            })
            .unwrap();
        let request = AttachRequest {
            container,
            ..AttachRequest::default()
        };
        let (reply, tap) = network.attach(request).unwrap();
        times.push(begun.elapsed());
        guests.push(Guest::start(tap, reply.addresses.unwrap()));
    }
    let (first, last) = (median(&times[..20]), median(&times[MEMBERS - 20..]));
    eprintln!("joined in {first:?} at first, {last:?} as the last of {MEMBERS}");
    assert!(
        last < first * 2 + Duration::from_millis(20),
        "{first:?} {last:?}"
    );

    for (number, guest) in guests.iter().enumerate() {
        let found = |kind| addresses(&guests[0].namespace, GATEWAY, &format!("c{number}"), kind);
        assert_eq!(found(A).unwrap(), [guest.ipv4()]);
        assert_eq!(found(AAAA).unwrap(), [guest.ipv6()]);
    }
    assert_eq!(
        addresses(&guests[MEMBERS - 1].namespace, GATEWAY, "c0", A).unwrap(),
        [guests[0].ipv4()]
    );

    // Once they have said that they are there, there is a second in which hardly anybody hears anything.
    let begun = Instant::now();
    loop {
        let before = delivered(&network);
        std::thread::sleep(Duration::from_secs(1));
        let heard = delivered(&network) - before;
        if heard < MEMBERS as u64 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{heard} packets a second");
    }
    // Who looks for another one is heard by each of the others once.
    let before = delivered(&network);
    assert!(guests[3].pings(guests[90].ipv4()));
    let heard = delivered(&network) - before;
    assert!(heard > 1);
    eprintln!("{heard} packets for a question and an answer");
    assert!(heard < 3 * MEMBERS as u64, "{heard}");
}
