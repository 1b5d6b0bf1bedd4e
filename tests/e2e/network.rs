//! Networks, in network namespaces of the tests' own.

use serde_json::Value;

use crate::namespace::Namespace;
use crate::system::System;

/// The networks, as `network inspect` shows them.
fn inspect(system: &System, name: &str) -> Value {
    let shown = system.run(["network", "inspect", name]).ok();
    let mut shown: Vec<Value> = serde_json::from_str(&shown.stdout).unwrap();
    shown.remove(0)
}

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
        "--egress",
        "allow=*.Example.org:443,10.0.0.0/8",
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
    assert_eq!(configuration["egress"][0], "*.example.org:443");
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
    create(&["backend"])
        .code(1)
        .says("network already exists: backend");
    create(&["--subnet", "10.9.0.1/24", "other"])
        .code(64)
        .says("10.9.0.0/24 is meant");
    create(&["--plugin", "none", "other"])
        .code(1)
        .says("there is no network plugin none");
    create(&["none"]).code(64).says("reserved");
    for name in ["first", "second"] {
        create(&[name]).ok();
    }
    assert_eq!(listed(&["-q"]), "backend\ndefault\nfirst\nsecond\n");
    assert_ne!(
        inspect(&system, "first")["status"]["ipv4Subnet"],
        inspect(&system, "second")["status"]["ipv4Subnet"]
    );

    // They outlive the system.
    system.run(["system", "stop"]).ok();
    system.run(["system", "start"]).ok();
    assert_eq!(inspect(&system, "backend")["configuration"], *configuration);

    let delete = |words: &[&str]| system.run(["network", "delete"].iter().chain(words));
    delete(&["default"]).code(1).says("builtin");
    delete(&["absent"])
        .code(1)
        .says("network not found: absent");
    assert_eq!(delete(&["second", "second"]).ok().stdout, "second\n");
    let pruned = system.run(["network", "prune"]).ok();
    assert_eq!(pruned.stdout, "backend\nfirst\n");
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
