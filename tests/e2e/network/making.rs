//! Networks, made and deleted.

use serde_json::Value;

use super::inspect;
use crate::namespace::Namespace;
use crate::system::System;

#[test]
fn networks_are_made_listed_and_deleted() {
    let host = Namespace::new();
    host.ip("link add lan0 type bridge");
    host.ip("link set lan0 up");
    host.ip("addr add 10.77.0.5/24 dev lan0");
    let system = System::stopped().in_namespace(&host);
    system.configure("[container]\nstandby = false\n[network]\nsubnet = \"10.55.0.0/24\"\n");
    system.set_up();
    let listed = |quiet: &[&str]| {
        let words = ["network", "list"].iter().chain(quiet);
        system.run(words).ok().stdout
    };
    assert_eq!(listed(&[]), "NETWORK  SUBNET\ndefault  10.55.0.0/24\n");

    let created = system.run([
        "network",
        "create",
        "--subnet",
        "10.9.0.0/24",
        "--subnet-v6",
        "fd00:9::/64",
        "--label",
        "a=b",
        "--internal",
        "--option",
        "mtu=1400",
        "backend",
    ]);
    assert_eq!(created.ok().stdout, "backend\n");
    let backend = inspect(&system, "backend");
    let configuration = &backend["configuration"];
    assert_eq!(configuration["mode"], "hostOnly");
    assert_eq!(configuration["labels"]["a"], "b");
    assert_eq!(configuration["mtu"], 1400);
    assert_eq!(configuration["options"]["mtu"], "1400");
    assert_eq!(backend["status"]["ipv4Subnet"], "10.9.0.0/24");
    assert_eq!(backend["status"]["ipv4Gateway"], "10.9.0.1");
    assert_eq!(backend["status"]["ipv6Subnet"], "fd00:9::/64");
    assert_eq!(backend["status"]["containers"], serde_json::json!([]));
    assert_eq!(
        inspect(&system, "default")["configuration"]["labels"]["com.apple.container.resource.role"],
        "builtin"
    );

    // What clashes is named.
    let create = |words: &[&str]| system.run(["network", "create"].iter().chain(words));
    create(&["--subnet", "10.9.0.128/25", "other"])
        .code(1)
        .says("IPv4 subnet 10.9.0.128/25 overlaps an existing network with subnet 10.9.0.0/24: backend");
    create(&["--subnet", "10.77.0.0/16", "other"])
        .code(1)
        .says("overlaps the host's route to 10.77.0.0/24 on lan0");
    host.ip("addr add 10.78.7.6/32 dev lan0");
    create(&["--subnet", "10.78.7.0/24", "other"])
        .code(1)
        .says("overlaps the host's address 10.78.7.6 on lan0");
    create(&["backend"])
        .code(1)
        .says("network already exists: backend");
    create(&["--subnet", "10.9.0.1/24", "other"])
        .code(64)
        .says("10.9.0.0/24 is meant");
    create(&["--plugin", "none", "other"])
        .code(1)
        .says("there is no network plugin 'none'");
    create(&["none"]).code(64).says("reserved");
    create(&["-d", "macvlan", "other"])
        .code(64)
        .says("there is no network driver 'macvlan'");
    create(&["-o", "bogus=1", "other"])
        .code(64)
        .says("unknown option 'bogus' of a network");
    system
        .run(["run", "--rm", "--network", "bridge", "busybox", "true"])
        .code(1)
        .says("is the network `default` here");
    // Rules would lead nowhere.
    create(&["--internal", "--egress", "allow=10.0.0.0/8", "other"])
        .code(64)
        .says("internal");
    let rules = "allow=*.Example.org:443,10.0.0.0/8";
    create(&["-d", "bridge", "--egress", rules, "first"]).ok();
    let first = inspect(&system, "first");
    assert_eq!(first["configuration"]["egress"][0], "*.example.org:443");
    create(&["second"]).ok();
    assert_eq!(listed(&["-q"]), "backend\ndefault\nfirst\nsecond\n");
    assert_ne!(
        inspect(&system, "first")["status"]["ipv4Subnet"],
        inspect(&system, "second")["status"]["ipv4Subnet"]
    );

    // They outlive the system, as do domains.
    system.run(["system", "stop"]).ok();
    domains_need_a_resolver_of_the_host(&system);
    assert_eq!(inspect(&system, "backend")["configuration"], *configuration);

    // Of four none is used, and the builtin one stays.
    let usage = || {
        let shown = system.run(["system", "df", "--format", "json"]).ok().stdout;
        serde_json::from_str::<Value>(&shown).unwrap()["networks"].clone()
    };
    let before = usage();
    assert_eq!(
        (before["total"].as_u64(), before["active"].as_u64()),
        (Some(4), Some(0))
    );
    assert!(before["reclaimable"].as_u64().unwrap() > 0, "{before}");
    let delete = |words: &[&str]| system.run(["network", "delete"].iter().chain(words));
    delete(&["default"]).code(1).says("builtin");
    delete(&["absent"])
        .code(1)
        .says("network not found: absent");
    delete(&["--force", "default"]).code(1).says("builtin");
    delete(&["--force", "absent"]).ok();
    assert_eq!(delete(&["second", "second"]).ok().stdout, "second\n");
    let pruned = system.run(["network", "prune"]).ok();
    assert_eq!(pruned.stdout, "backend\nfirst\n");
    let left = usage();
    assert_eq!(
        (&left["total"], &left["reclaimable"]),
        (&1.into(), &0.into())
    );
    create(&["third"]).ok();
    assert_eq!(delete(&["--all"]).ok().stdout, "third\n");
    assert_eq!(listed(&["-q"]), "default\n");
    system
        .run(["network", "inspect", "default", "gone"])
        .code(1)
        .says("network not found: gone");
    system
        .run(["run", "--rm", "--network", "gone", "busybox", "true"])
        .code(1)
        .says("network not found: gone");
}

/// Starts the system with each.
fn domains_need_a_resolver_of_the_host(system: &System) {
    let dns = |words: &[&str]| system.run(["system", "dns"].iter().chain(words));
    // One that is there and does not run, and one that does.
    let stand_in = system.scratch().join("bin");
    std::fs::create_dir(&stand_in).unwrap();
    let program = stand_in.join("resolvectl");
    let put = |script: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
    };
    put("exit 1");
    let path = format!("{}:{}", stand_in.display(), std::env::var("PATH").unwrap());
    let mut start = system.command(["system", "start"]);
    assert!(start.env("PATH", path).status().unwrap().success());
    let refused = dns(&["create", "test"]).code(1);
    let refused = refused.says("through systemd-resolved, and on this host it does not run");
    assert!(refused.stderr.contains("published ports"), "{refused:?}");
    assert_eq!(dns(&["list"]).ok().stdout, "DOMAIN\n");
    put(":");
    assert_eq!(dns(&["create", "Test"]).ok().stdout, "test\n");
    dns(&["create", "test"])
        .code(1)
        .says("domain already exists: test");
    dns(&["create", "a b"])
        .code(64)
        .says("invalid domain 'a b'");
    let own = ["create", "host.test", "--localhost", "203.0.113.113"];
    dns(&own).ok();
    let listed = dns(&["ls", "--format", "json"]).ok().stdout;
    assert_eq!(
        serde_json::from_str::<Value>(&listed).unwrap(),
        serde_json::json!(["host.test", "test"])
    );
    system.run(["system", "stop"]).ok();
    system.run(["system", "start"]).ok();
    assert_eq!(dns(&["list", "-q"]).ok().stdout, "host.test\ntest\n");
    assert_eq!(
        dns(&["rm", "test", "host.test"]).ok().stdout,
        "test\nhost.test\n"
    );
    dns(&["delete", "test"])
        .code(1)
        .says("domain not found: test");
}
