use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use super::host::{Forward, Table};
use super::member::Member;
use super::packets::Base;
use super::{frames, host, packets};
use crate::ports::published::{Protocol, Published};

/// Gives `script` to nft in a namespace of its own.
fn accepted(script: &str) {
    let mut nft = Command::new("unshare")
        .args(["-n", "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = nft.stdin.take().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    let output = nft.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}\n{script}");
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn nft_takes_the_rules_of_a_network_and_takes_them_again() {
    let rules = [
        "192.0.2.0/24:443",
        "2001:db8::/32",
        "*.example.org:443",
        "example.org",
        "*.container.internal",
        "10.0.0.0/8:8000-8999",
        "10.0.0.0/8:53/udp",
        "[2001:db8::/32]:1-65535/tcp",
        "*.example.net/udp",
        "host.container.internal:80-81/tcp",
        "host.container.internal:80",
    ];
    let rules: Vec<_> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let host = addresses(&["192.168.64.254", "fd00::fffe"]);
    let base = Base {
        host: host
            .iter()
            .copied()
            .zip(addresses(&["192.168.64.1", "fd00::1"]))
            .collect(),
        leads_out: true,
        relay: 4000,
        is_alone: true,
        intercepts: true,
        uplink: vec![
            "192.0.0.0/29".parse().unwrap(),
            "fd01::/64".parse().unwrap(),
        ],
        conversations: 4096,
    };
    accepted(&packets::base(&Base {
        leads_out: false,
        ..base.clone()
    }));
    let base = packets::base(&base);
    let mut script = String::new();
    let open = Member {
        container: "one",
        tap: "tap0",
        mac: "f2:00:00:00:00:01".parse().unwrap(),
        ipv4: Some("192.168.64.2".parse().unwrap()),
        ipv6: Some("fd00::2".parse().unwrap()),
        egress: None,
        within: None,
    };
    let bound = Member {
        tap: "tap1",
        mac: "f2:00:00:00:00:02".parse().unwrap(),
        ipv4: Some("192.168.64.3".parse().unwrap()),
        ipv6: Some("fd00::3".parse().unwrap()),
        egress: Some(&rules),
        ..open
    };
    let nothing = Member {
        tap: "tap2",
        mac: "f2:00:00:00:00:03".parse().unwrap(),
        ipv4: None,
        ipv6: Some("fd00::4".parse().unwrap()),
        egress: Some(&[]),
        ..open
    };
    let narrowed = Member {
        tap: "tap3",
        ipv4: Some("192.168.64.5".parse().unwrap()),
        ipv6: None,
        egress: Some(&rules[..2]),
        within: Some(&rules),
        ..open
    };
    for _ in 0..2 {
        script.push_str(&frames::base());
        script.push_str(&base);
        for member in [&open, &bound, &nothing, &narrowed] {
            script.push_str(&frames::dismiss(member.tap));
            script.push_str(&packets::dismiss(member, &[]));
            script.push_str(&frames::admit(member));
            script.push_str(&packets::admit(member, &host));
        }
        for _ in 0..2 {
            script.push_str(&packets::learn(
                "tap1",
                2,
                &addresses(&["192.0.2.7", "2001:db8::7"]),
                60,
            ));
        }
    }
    // The network's rules are counted behind the container's own.
    script.push_str(&packets::learn("tap3", 4, &addresses(&["192.0.2.7"]), 60));
    script.push_str(&packets::forget_members());
    for member in [&open, &bound, &nothing, &narrowed] {
        script.push_str(&packets::enlist(member));
        script.push_str(&packets::lead(member));
    }
    for _ in 0..2 {
        for member in [&open, &bound, &nothing, &narrowed] {
            script.push_str(&frames::dismiss(member.tap));
            script.push_str(&packets::dismiss(member, &[]));
        }
    }
    accepted(&script);
}

#[test]
fn few_conversations_are_counted_together_and_many_in_parts() {
    for (most, words) in [
        (0, "ct count over 0 "),
        (100, "ct count over 100 "),
        (511, "ct count over 511 "),
        (512, "mod 2 ct count over 256 "),
        (4096, "mod 16 ct count over 256 "),
        (1 << 17, "mod 64 ct count over 2048 "),
    ] {
        let rules = packets::counted("outside", most);
        assert!(rules[0].contains(words), "{most}: {}", rules[0]);
        accepted(&host::together(most));
    }
}

#[test]
fn nft_takes_the_host_s_table() {
    let port = |address: &str, protocol| Published {
        host_address: address.parse().ok(),
        host_port: 8080,
        container_port: 80,
        protocol,
    };
    let mut forwards = Vec::new();
    for address in [
        "",
        "127.0.0.1",
        "0.0.0.0",
        "::",
        "::1",
        "192.0.2.1",
        "2001:db8::1",
    ] {
        for target in ["192.168.64.2", "fd00::2"] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                forwards.push(Forward {
                    container: "web",
                    port: port(address, protocol),
                    address: target.parse().unwrap(),
                });
            }
        }
    }
    let subnets = [
        (
            "192.168.64.0/24".parse().unwrap(),
            "192.168.64.254".parse().unwrap(),
        ),
        ("fd00::/64".parse().unwrap(), "fd00::fffe".parse().unwrap()),
    ];
    let table = Table {
        name: "cnb0123456789",
        network: "default",
        subnets: &subnets,
        leads_out: true,
        forwards: &forwards,
    };
    accepted(&host::table(&Table {
        leads_out: false,
        ..table.clone()
    }));
    let script = host::table(&table);
    // Nobody is led away from ::1.
    let leads = |line: &&str| line.contains(" dnat ip");
    assert!(
        !script
            .lines()
            .filter(leads)
            .any(|line| line.contains("daddr ::1 "))
    );
    // Only the host itself is led away from 127.0.0.1.
    let loopback: Vec<&str> = script
        .lines()
        .filter(leads)
        .filter(|line| line.contains("ip daddr 127."))
        .collect();
    let own = format!("add rule inet {} output ", table.name);
    assert!(loopback.len() == 2 && loopback.iter().all(|line| line.starts_with(&own)));
    accepted(&format!(
        "{script}{script}{}",
        host::remove("cnb0123456789")
    ));
}
