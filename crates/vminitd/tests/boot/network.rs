//! Network interfaces, as the guest's own tools show them.

use container_api::guest::{Interface, StatisticsRequest};

use crate::guest::{Guest, Options, start_request};

const FIRST: &str = "f2:00:00:00:00:0a";
const SECOND: &str = "f2:00:00:00:00:0b";

#[tokio::test]
#[ignore = "boots a machine"]
async fn interfaces_are_found_by_their_devices_and_set_up() {
    let nics = &[SECOND, FIRST];
    let guest = Guest::boot(Options {
        nics,
        ..Options::default()
    })
    .await;
    let mut request = start_request(&["sleep", "1000"]);
    request.interfaces = vec![
        Interface {
            device_mac: FIRST.into(),
            mac: "f2:00:00:00:00:0c".into(),
            mtu: 1400,
            addresses: vec!["192.0.2.3/24".into(), "2001:db8::3/64".into()],
            gateways: vec!["192.0.2.1".into(), "2001:db8::1".into()],
        },
        Interface {
            device_mac: SECOND.into(),
            addresses: vec!["198.51.100.3/31".into()],
            ..Interface::default()
        },
    ];
    guest.calls().start(request).await.unwrap();
    let shown = async |id: &str, words: &[&str]| {
        let (code, out, err) = guest.exec(id, words).await;
        assert_eq!(code, 0, "{words:?}: {err}");
        out
    };
    let first = shown("first", &["ip", "addr", "show", "dev", "eth0"]).await;
    for part in [
        "UP",
        "mtu 1400",
        "link/ether f2:00:00:00:00:0c",
        "inet 192.0.2.3/24 brd 192.0.2.255",
        "inet6 2001:db8::3/64",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(!first.contains("tentative"), "{first}");
    let second = shown("second", &["ip", "addr", "show", "dev", "eth1"]).await;
    for part in ["UP", SECOND, "inet 198.51.100.3/31"] {
        assert!(second.contains(part), "{part}: {second}");
    }
    let routes = shown("routes", &["ip", "route"]).await;
    assert!(
        routes.contains("default via 192.0.2.1 dev eth0"),
        "{routes}"
    );
    let routes = shown("routes6", &["ip", "-6", "route"]).await;
    assert!(
        routes.contains("default via 2001:db8::1 dev eth0"),
        "{routes}"
    );
    let believed = shown("ra", &["cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra"]).await;
    assert_eq!(believed, "0\n");
    // Nobody answers, but what is asked for is on the wire, and counted.
    let sent = async || {
        let reply = guest.calls().statistics(StatisticsRequest {}).await;
        reply.unwrap().into_inner()
    };
    let before = sent().await;
    let ping = ["ping", "-c", "1", "-W", "1", "192.0.2.1"];
    assert_ne!(guest.exec("ping", &ping).await.0, 0);
    let after = sent().await;
    assert!(after.network_tx_bytes > before.network_tx_bytes);
    let of = |device: &str| {
        let mut all = after.interfaces.iter();
        all.find(|one| one.device_mac == device).unwrap()
    };
    let (first, second) = (of(FIRST), of(SECOND));
    assert_eq!(after.interfaces.len(), 2);
    assert_eq!(
        (first.name.as_str(), second.name.as_str()),
        ("eth0", "eth1")
    );
    assert!(first.tx_packets > 0, "{first:?}");
    assert_eq!(first.tx_bytes + second.tx_bytes, after.network_tx_bytes);
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn a_device_that_is_not_there_is_named() {
    let guest = Guest::boot(Options::default()).await;
    let mut request = start_request(&["true"]);
    request.interfaces = vec![Interface {
        device_mac: FIRST.into(),
        ..Interface::default()
    }];
    let refused = guest.calls().start(request).await.unwrap_err();
    assert!(refused.message().contains(FIRST), "{}", refused.message());
}
