use proptest::prelude::*;

use super::lease::Attached;
use super::*;

fn open(directory: &Path) -> Leases {
    let ipv4 = Subnet::new("192.0.2.0/28".parse().unwrap());
    let ipv6 = Subnet::new("fd00:1::/64".parse().unwrap());
    Leases::open(Leases::path_in(directory), ipv4, ipv6, 1500).unwrap()
}

fn wish(names: &[&str]) -> Wish {
    Wish {
        names: names.iter().map(|&name| name.into()).collect(),
        ..Wish::default()
    }
}

#[test]
fn a_lease_lasts_until_it_is_released() {
    let scratch = tempfile::tempdir().unwrap();
    let mut leases = open(scratch.path());
    let first = leases.allocate("a", &wish(&["web"])).unwrap();
    assert_eq!(first.ipv4, Some("192.0.2.2".parse().unwrap()));
    assert_eq!(first.ipv6, Some("fd00:1::2".parse().unwrap()));
    drop(leases);
    let mut leases = open(scratch.path());
    let again = leases.allocate("a", &wish(&["other"])).unwrap();
    assert_eq!(
        (again.ipv4, again.ipv6, again.mac),
        (first.ipv4, first.ipv6, first.mac)
    );
    assert_eq!(leases.get("a").unwrap().names, ["other"]);
    leases.release("a").unwrap();
    // Neither now nor after a restart is it the next one.
    let second = open(scratch.path()).allocate("b", &wish(&[])).unwrap();
    assert_eq!(second.ipv4, Some("192.0.2.3".parse().unwrap()));
    assert_eq!(second.number, 0);
}

/// Also where it was asked for, and would be the next one by its number.
#[test]
fn a_freed_address_is_not_the_next_one() {
    let scratch = tempfile::tempdir().unwrap();
    let mut leases = open(scratch.path());
    leases.allocate("a", &wish(&[])).unwrap();
    let wanted = |ipv4: &str, ipv6: &str| Wish {
        ipv4: ipv4.into(),
        ipv6: ipv6.into(),
        ..Wish::default()
    };
    let asked = wanted("192.0.2.3", "fd00:1::3");
    leases.allocate("b", &asked).unwrap();
    leases.release("b").unwrap();
    let mut leases = open(scratch.path());
    let next = leases.allocate("c", &wish(&[])).unwrap();
    assert_eq!(next.ipv4, Some("192.0.2.4".parse().unwrap()));
    assert_eq!(next.ipv6, Some("fd00:1::4".parse().unwrap()));
    // One that was exchanged for another is free, too.
    let exchanged = wanted("192.0.2.5", "fd00:1::5");
    leases.allocate("c", &exchanged).unwrap();
    leases.allocate("c", &wanted("192.0.2.9", "")).unwrap();
    let next = leases.allocate("d", &wish(&[])).unwrap();
    assert_eq!(next.ipv4, Some("192.0.2.6".parse().unwrap()));
    // The last one that is left is better than none.
    for number in 0..9 {
        leases.allocate(&format!("e{number}"), &wish(&[])).unwrap();
    }
    leases.allocate("f", &wish(&[])).unwrap_err();
    leases.release("d").unwrap();
    let last = leases.allocate("f", &wish(&[])).unwrap();
    assert_eq!(last.ipv4, next.ipv4);
}

#[test]
fn what_is_wanted_is_given_or_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let mut leases = open(scratch.path());
    let wanted = Wish {
        ipv4: "192.0.2.9".into(),
        ipv6: "fd00:1::9".into(),
        mac: "f2:00:00:00:00:09".into(),
        mtu: 1400,
        ..Wish::default()
    };
    let lease = leases.allocate("a", &wanted).unwrap();
    let addresses = lease.addresses((28, 64));
    assert_eq!(
        (addresses.ipv4.as_str(), addresses.ipv6.as_str()),
        ("192.0.2.9/28", "fd00:1::9/64")
    );
    assert_eq!(
        (addresses.mac.as_str(), addresses.mtu),
        ("f2:00:00:00:00:09", 1400)
    );
    let mut refused = |wish: Wish| leases.allocate("b", &wish).unwrap_err();
    let part = |ipv4: &str, ipv6: &str, mac: &str, mtu| Wish {
        ipv4: ipv4.into(),
        ipv6: ipv6.into(),
        mac: mac.into(),
        mtu,
        ..Wish::default()
    };
    assert!(matches!(
        refused(part("192.0.2.9", "", "", 0)),
        LeaseError::Unavailable(AddressError::Taken(_))
    ));
    assert!(matches!(
        refused(part("", "fd00:1::9", "", 0)),
        LeaseError::Unavailable(AddressError::Taken(_))
    ));
    assert!(matches!(
        refused(part("", "", "f2:00:00:00:00:09", 0)),
        LeaseError::MacTaken(_)
    ));
    assert!(matches!(
        refused(part("", "", "01:00:00:00:00:09", 0)),
        LeaseError::Mac(_)
    ));
    assert!(matches!(
        refused(part("192.0.2", "", "", 0)),
        LeaseError::Address(_)
    ));
    assert!(matches!(
        refused(part("", "", "", 1279)),
        LeaseError::Mtu(1279, 1500)
    ));
    assert!(matches!(
        refused(part("", "", "", 1501)),
        LeaseError::Mtu(..)
    ));
    for id in ["", "a b", "a\"", &"a".repeat(129)] {
        assert!(matches!(
            leases.allocate(id, &wish(&[])),
            Err(LeaseError::Id(_))
        ));
    }
    assert_eq!(leases.all().len(), 1);
}

#[test]
fn addresses_in_use_do_not_change() {
    let scratch = tempfile::tempdir().unwrap();
    let mut leases = open(scratch.path());
    leases.allocate("a", &wish(&[])).unwrap();
    let attached = Attached {
        tap: "tap0".into(),
        ports: Vec::new(),
        egress: None,
        within: None,
    };
    leases
        .change("a", |lease| lease.attached = Some(attached))
        .unwrap();
    let other = Wish {
        ipv4: "192.0.2.9".into(),
        ..Wish::default()
    };
    assert!(matches!(
        leases.allocate("a", &other),
        Err(LeaseError::InUse)
    ));
    let renamed = leases.allocate("a", &wish(&["new"])).unwrap();
    assert!(renamed.attached.is_some());
}

#[test]
fn a_family_that_the_network_lacks_is_not_given() {
    let scratch = tempfile::tempdir().unwrap();
    let path = Leases::path_in(scratch.path());
    let ipv4 = Subnet::new("192.0.2.0/28".parse().unwrap());
    let mut leases = Leases::open(path, ipv4, None, 1500).unwrap();
    assert_eq!(leases.allocate("a", &wish(&[])).unwrap().ipv6, None);
    let wanted = Wish {
        ipv6: "fd00::9".into(),
        ..Wish::default()
    };
    assert!(matches!(
        leases.allocate("a", &wanted),
        Err(LeaseError::Family(..))
    ));
}

#[test]
fn damaged_leases_are_an_error_and_stay() {
    let scratch = tempfile::tempdir().unwrap();
    let path = Leases::path_in(scratch.path());
    std::fs::write(&path, "{").unwrap();
    assert!(Leases::open(path.clone(), None, None, 1500).is_err());
    assert_eq!(std::fs::read_to_string(path).unwrap(), "{");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn no_two_have_the_same(steps in prop::collection::vec((0_u8..20, any::<bool>()), 1..40)) {
        let scratch = tempfile::tempdir().unwrap();
        let mut leases = open(scratch.path());
        for (container, release) in steps {
            let id = format!("c{container}");
            if release {
                leases.release(&id).unwrap();
            } else {
                // There are 12 addresses.
                let _ = leases.allocate(&id, &wish(&[]));
            }
            let all = leases.all();
            let distinct: BTreeSet<_> = all.values().map(|lease| (lease.ipv4, lease.ipv6)).collect();
            let numbers: BTreeSet<_> = all.values().map(|lease| lease.number).collect();
            prop_assert_eq!((distinct.len(), numbers.len()), (all.len(), all.len()));
        }
        prop_assert_eq!(open(scratch.path()).state, leases.state);
    }
}
