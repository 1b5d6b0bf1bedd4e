//! The network that a container has when nobody says a word.

use serde_json::Value;

use super::inspect;
use crate::namespace::Namespace;
use crate::system::System;

/// A small container that deletes itself.
const SMALL: [&str; 6] = ["run", "--rm", "-m", "256M", "-c", "1"];

#[test]
fn a_network_is_the_default_and_never_a_hindrance() {
    let host = Namespace::new();
    let system = System::stopped().in_namespace(&host);
    system.configure("[container]\nstandby = true\n[dns]\ndomain = \"test\"\n");
    system.set_up();
    let own = "ip -o addr show eth0 | grep -c 'inet6\\? ' && cat /etc/resolv.conf && grep -c $(hostname) /etc/hosts";
    let run = || system.run(SMALL.iter().chain(&["busybox", "sh", "-c", own]));
    let first = run().ok();
    assert_eq!(first.stderr, "");
    assert!(first.stdout.contains("nameserver "), "{first:?}");
    assert!(first.stdout.contains("\ndomain test\n"), "{first:?}");
    // The same from a template and from the machine that waits.
    let waits = || {
        let listed = system
            .run(["system", "template", "list", "--format", "json"])
            .ok();
        let templates: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
        templates.iter().any(|template| template["standby"] == true)
    };
    crate::system::eventually("a machine waits", waits);
    assert_eq!(run().ok().stdout, first.stdout);
    assert_eq!(run().ok().stdout, first.stdout);
    // They have given everything back.
    crate::system::eventually("nobody is on the network", || {
        inspect(&system, "default")["status"]["containers"] == serde_json::json!([])
    });

    // Flags that write files.
    let files = [
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "example.org",
        "--dns-option",
        "ndots:2",
        "--add-host",
        "db:192.0.2.7",
        "--hostname",
        "web.example.org",
        "busybox",
        "sh",
        "-c",
        "cat /etc/resolv.conf; grep -w db /etc/hosts; hostname -f",
    ];
    assert_eq!(
        system.run(SMALL.iter().chain(&files)).ok().stdout,
        "nameserver 192.0.2.53\ndomain test\nsearch example.org\noptions ndots:2\n192.0.2.7\tdb\nweb.example.org\n"
    );

    // A host without what it takes.
    system.run(["system", "stop"]).ok();
    let plugin = system
        .prefix()
        .join("libexec/container/plugins/container-network-bridge/bin/container-network-bridge");
    let lacking = lacking_network(&system, &plugin);
    let system = system.with_prefix(lacking);
    system.run(["system", "start"]).ok();
    let run = |words: &[&str]| system.run(SMALL.iter().chain(words));
    let without = run(&["busybox", "ls", "/sys/class/net"])
        .ok()
        .says("has no network: network default: there is no nft here");
    assert!(!without.stdout.contains("eth"), "{without:?}");
    assert!(
        without.stderr.contains("container system doctor"),
        "{without:?}"
    );
    assert_eq!(without.stderr.lines().count(), 1, "{without:?}");
    run(&["--network", "default", "busybox", "true"])
        .code(1)
        .says("network default: there is no nft here");
    let none = run(&["--network", "none", "busybox", "true"]);
    assert_eq!(none.ok().stderr, "");
}

/// A prefix as the system's, whose networks' program finds that the host lacks something.
fn lacking_network(system: &System, plugin: &std::path::Path) -> std::path::PathBuf {
    let prefix = system.scratch().join("lacking");
    let copied = std::process::Command::new("cp")
        .args(["-r", "--reflink=auto"])
        .arg(system.prefix())
        .arg(&prefix)
        .status()
        .unwrap();
    assert!(copied.success());
    let program = prefix.join(plugin.strip_prefix(system.prefix()).unwrap());
    std::fs::remove_file(&program).unwrap();
    // The descriptor on which a network's process says why it ends.
    let script = "#!/bin/sh\nprintf 'there is no nft here' >&5\nexit 1\n";
    std::fs::write(&program, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    prefix
}
