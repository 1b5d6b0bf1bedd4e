//! What a hostile machine sends does not arrive.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::net::{Ipv4Addr, Ipv6Addr};

use world::frames::{Mac, arp, discovery, ethernet, ipv4, ipv6, udp};
use world::station::Station;
use world::{As, World};

#[test]
fn a_machine_speaks_for_itself_alone() {
    speaks_for_itself_alone(As::Root);
}

#[test]
fn a_machine_of_a_user_s_network_does_so_too() {
    speaks_for_itself_alone(As::User);
}

fn speaks_for_itself_alone(who: As) {
    let world = World::of(who);
    let network = world.network("one", |_| ());
    let (evil, victim, third) = (
        Station::new(&network, "evil"),
        Station::new(&network, "victim"),
        Station::new(&network, "third"),
    );
    let (gateway, gateway6): (Ipv4Addr, Ipv6Addr) = (
        "192.168.64.1".parse().unwrap(),
        "fd00:64::1".parse().unwrap(),
    );
    let link_local = |mac: Mac| {
        Ipv6Addr::from([
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            mac[0] ^ 2,
            mac[1],
            mac[2],
            0xff,
            0xfe,
            mac[3],
            mac[4],
            mac[5],
        ])
    };
    let from_me = |kind, payload: &[u8]| ethernet(victim.mac, evil.mac, kind, payload);
    let everybody6: Ipv6Addr = "ff02::1".parse().unwrap();
    let own = (evil.mac, evil.ipv4);
    let to = (victim.mac, victim.ipv4);
    let hello = udp(1000, 1000, b"hello");
    let advert = discovery(134, evil.ipv6, evil.mac);
    let in_vlan = |tag: u16, inner: &[u8]| from_me(tag, &[&[0, 5, 8, 0][..], inner].concat());
    let spoofed = ipv4(third.ipv4, victim.ipv4, 17, &hello);
    let hidden = [&[58, 0, 5, 2, 0, 0, 0, 0][..], &advert].concat();
    // A first fragment: what follows it, a reserved byte, offset 0 with more to come, an identification (RFC 8200 section 4.5).
    let first = |next: u8, part: &[u8]| [&[next, 0, 0, 1, 0, 0, 0, 7][..], part].concat();
    let hiding = first(60, &[58, 0, 1, 4, 0, 0, 0, 0]);
    let torn = first(58, &advert[..8]);
    let answer = first(17, &udp(547, 546, b"offer")[..8]);
    let own_part = first(17, &udp(7, 7, b"hello")[..8]);
    let table: Vec<(&str, bool, Vec<u8>)> = vec![
        (
            "its own packet",
            true,
            from_me(0x0800, &ipv4(evil.ipv4, victim.ipv4, 17, &hello)),
        ),
        (
            "its own packet of IPv6",
            true,
            from_me(0x86dd, &ipv6(evil.ipv6, victim.ipv6, 17, &hello)),
        ),
        ("its own question", true, from_me(0x0806, &arp(1, own, to))),
        ("its own answer", true, from_me(0x0806, &arp(2, own, to))),
        (
            "whether its address is taken",
            true,
            from_me(0x0806, &arp(1, (evil.mac, Ipv4Addr::UNSPECIFIED), to)),
        ),
        (
            "its own advertisement",
            true,
            from_me(
                0x86dd,
                &ipv6(
                    evil.ipv6,
                    victim.ipv6,
                    58,
                    &discovery(136, evil.ipv6, evil.mac),
                ),
            ),
        ),
        (
            "its own solicitation",
            true,
            from_me(
                0x86dd,
                &ipv6(
                    link_local(evil.mac),
                    everybody6,
                    58,
                    &discovery(135, victim.ipv6, evil.mac),
                ),
            ),
        ),
        (
            "another's MAC",
            false,
            ethernet(
                victim.mac,
                third.mac,
                0x0800,
                &ipv4(evil.ipv4, victim.ipv4, 17, &hello),
            ),
        ),
        ("another's address", false, from_me(0x0800, &spoofed)),
        (
            "an address of nobody",
            false,
            from_me(
                0x0800,
                &ipv4(Ipv4Addr::new(10, 9, 9, 9), victim.ipv4, 17, &hello),
            ),
        ),
        (
            "another's address of IPv6",
            false,
            from_me(0x86dd, &ipv6(third.ipv6, victim.ipv6, 17, &hello)),
        ),
        (
            "another's link-local address",
            false,
            from_me(
                0x86dd,
                &ipv6(link_local(third.mac), victim.ipv6, 17, &hello),
            ),
        ),
        (
            "ARP for another",
            false,
            from_me(0x0806, &arp(2, (evil.mac, third.ipv4), to)),
        ),
        (
            "ARP for the gateway",
            false,
            from_me(0x0806, &arp(2, (evil.mac, gateway), to)),
        ),
        (
            "ARP that asks as the gateway",
            false,
            from_me(0x0806, &arp(1, (evil.mac, gateway), to)),
        ),
        (
            "ARP with another's MAC",
            false,
            from_me(0x0806, &arp(2, (third.mac, evil.ipv4), to)),
        ),
        (
            "neighbour advertisement for another",
            false,
            from_me(
                0x86dd,
                &ipv6(
                    evil.ipv6,
                    victim.ipv6,
                    58,
                    &discovery(136, third.ipv6, evil.mac),
                ),
            ),
        ),
        (
            "neighbour advertisement for the gateway",
            false,
            from_me(
                0x86dd,
                &ipv6(
                    evil.ipv6,
                    victim.ipv6,
                    58,
                    &discovery(136, gateway6, evil.mac),
                ),
            ),
        ),
        (
            "DHCP offer",
            false,
            from_me(
                0x0800,
                &ipv4(evil.ipv4, victim.ipv4, 17, &udp(67, 68, b"offer")),
            ),
        ),
        (
            "DHCPv6 answer",
            false,
            from_me(
                0x86dd,
                &ipv6(evil.ipv6, victim.ipv6, 17, &udp(547, 546, b"offer")),
            ),
        ),
        (
            "router advertisement",
            false,
            from_me(0x86dd, &ipv6(link_local(evil.mac), everybody6, 58, &advert)),
        ),
        (
            "router advertisement behind a header",
            false,
            from_me(0x86dd, &ipv6(link_local(evil.mac), everybody6, 0, &hidden)),
        ),
        (
            "fragment that hides what it is",
            false,
            from_me(0x86dd, &ipv6(evil.ipv6, victim.ipv6, 44, &hiding)),
        ),
        (
            "router advertisement in fragments",
            false,
            from_me(0x86dd, &ipv6(link_local(evil.mac), everybody6, 44, &torn)),
        ),
        (
            "DHCPv6 answer in fragments",
            false,
            from_me(0x86dd, &ipv6(evil.ipv6, victim.ipv6, 44, &answer)),
        ),
        (
            "its own packet in fragments",
            true,
            from_me(0x86dd, &ipv6(evil.ipv6, victim.ipv6, 44, &own_part)),
        ),
        (
            "redirect",
            false,
            from_me(
                0x86dd,
                &ipv6(
                    link_local(evil.mac),
                    victim.ipv6,
                    58,
                    &discovery(137, gateway6, evil.mac),
                ),
            ),
        ),
        (
            "to the loopback of another",
            false,
            from_me(0x0800, &ipv4(evil.ipv4, Ipv4Addr::LOCALHOST, 17, &hello)),
        ),
        ("VLAN", false, in_vlan(0x8100, &spoofed)),
        ("VLAN in a VLAN", false, in_vlan(0x88a8, &spoofed)),
        ("LLDP", false, from_me(0x88cc, &[2, 7, 4])),
        (
            "spanning tree",
            false,
            ethernet(
                [1, 0x80, 0xc2, 0, 0, 0],
                evil.mac,
                38,
                &[0x42, 0x42, 3, 0, 0, 0, 0],
            ),
        ),
        ("another protocol", false, from_me(0x88b5, b"hello")),
    ];
    // Kernels take what is in VLAN 0 as if it had no tag, whatever its priority.
    let plain = table.iter().filter(|(what, ..)| !what.contains("VLAN"));
    let tagged = plain.flat_map(|(what, _, frame)| {
        [0x8100_u16, 0x88a8].map(|tag| {
            let tag = [tag.to_be_bytes(), [0xe0, 0]].concat();
            let frame = [&frame[..12], &tag, &frame[12..]].concat();
            (format!("{what}, tagged"), false, frame)
        })
    });
    let tagged: Vec<_> = tagged.collect();
    let plain = table
        .iter()
        .map(|(what, passes, frame)| (what.to_string(), *passes, frame.clone()));
    let table: Vec<_> = plain.chain(tagged).collect();
    for (number, (what, passes, frame)) in (2000..).zip(&table) {
        evil.send(frame);
        // Frames of one station arrive in their order: this one ends the look.
        let marker = evil.marker(number);
        evil.send(&marker);
        let mut arrived = false;
        while let Some(found) = victim.receive() {
            if found == marker {
                break;
            }
            arrived |= found == *frame;
        }
        assert_eq!(arrived, *passes, "{what}");
    }
    // Nor has anybody else been told: what belongs to the third station still goes there.
    let reply = from_me(0x0800, &ipv4(evil.ipv4, third.ipv4, 17, &hello));
    victim.send(&ethernet(
        third.mac,
        victim.mac,
        0x0800,
        &ipv4(victim.ipv4, third.ipv4, 17, &hello),
    ));
    let arrived = std::iter::from_fn(|| third.receive())
        .any(|found| found[..6] == third.mac && found[6..12] == victim.mac);
    assert!(arrived && !reply.is_empty());
}

/// A bridge gives everybody what is for an address that it does not know.
#[test]
fn frames_for_nobody_reach_nobody() {
    for who in [As::Root, As::User] {
        let world = World::of(who);
        let network = world.network("one", |_| ());
        let [evil, victim, silent] =
            ["evil", "victim", "silent"].map(|name| Station::new(&network, name));
        let nobody: Mac = [2, 0, 0, 0, 0x99, 0x99];
        let packet = ipv4(evil.ipv4, victim.ipv4, 17, &udp(9, 9, b""));
        for _ in 0..500 {
            evil.send(&ethernet(nobody, evil.mac, 0x0800, &packet));
        }
        // One that has not said a word is known all the same.
        let hello = ethernet(silent.mac, evil.mac, 0x0800, &packet);
        for to in [&victim, &silent] {
            evil.send(&hello);
            evil.send(&evil.marker(7));
            let marker = evil.marker(7);
            let mut arrived = Vec::new();
            while arrived.last() != Some(&marker) {
                let frame = to.receive().expect("the marker");
                assert_ne!(frame[..6], nobody, "{who:?}");
                arrived.push(frame);
            }
            let is_meant = to.mac == silent.mac;
            assert_eq!(arrived.contains(&hello), is_meant, "{who:?}");
        }
    }
}

#[test]
fn a_storm_of_broadcasts_is_bounded() {
    let world = World::new();
    let network = world.network("one", |_| ());
    let (evil, victim) = (
        Station::new(&network, "evil"),
        Station::new(&network, "victim"),
    );
    let begun = std::time::Instant::now();
    let mut arrived = 0;
    for number in 0..20_000 {
        evil.send(&evil.marker(number));
        arrived += usize::from(victim.has_frame() && victim.receive().is_some());
    }
    let seconds = begun.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let rate = arrived as f64;
    assert!(
        arrived > 100 && rate <= 1100.0 + 1000.0 * seconds,
        "{arrived} in {seconds} s"
    );
}
