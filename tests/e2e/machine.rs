//! Container machines.

use crate::system::{System, eventually};

/// Makes of busybox a root that has an init, in the container `base`.
const INIT: &str = "ln -s /bin/busybox /sbin/init; echo ::respawn:/bin/sleep 100000 > /etc/inittab; \
                    echo ::shutdown:/bin/sh -c \\'echo over \\>\\> /var/log/ends\\' >> /etc/inittab";

fn state(system: &System, machine: &str) -> String {
    let seen = system.run(["machine", "inspect", machine]).ok().stdout;
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    seen[0]["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_machine_is_booted_used_rebooted_and_shut_down() {
    let system = System::start();
    let create = [
        "machine",
        "create",
        "--home-mount",
        "none",
        "-m",
        "256M",
        "-c",
        "1",
    ];
    system
        .run(create.iter().chain(&["busybox"]))
        .code(1)
        .says("image docker.io/library/busybox:latest has no /sbin/init");
    assert_eq!(system.run(["machine", "list", "-q"]).ok().stdout, "");
    system
        .run(["machine", "run", "true"])
        .code(1)
        .says("there is no default machine");
    system
        .run(["run", "--name", "base", "busybox", "sh", "-c", INIT])
        .ok();
    system.run(["commit", "base", "linux:1"]).ok();
    system.run(["delete", "base"]).ok();
    let made = system.run(create.iter().chain(&["linux:1"])).ok();
    assert_eq!(made.stdout, "linux-1\n");
    system
        .run(create.iter().chain(&["--name", "linux-1", "linux:1"]))
        .code(1)
        .says("machine already exists: linux-1");

    // It is none of the containers.
    assert_eq!(system.run(["list", "-aq"]).ok().stdout, "");
    system.run(["stop", "--all"]).ok();
    system.run(["prune"]).ok();
    assert_eq!(state(&system, "linux-1"), "running");
    let table = system.run(["machine", "list"]).ok().stdout;
    assert!(
        table
            .lines()
            .any(|row| row.starts_with("linux-1") && row.ends_with('*')),
        "{table}"
    );

    // Words arrive as they are, the exit code comes back, and its init is the first process.
    let seen = system.run(["machine", "run", "printf", "%s|", "$HOME", "a  b"]);
    assert_eq!(seen.ok().stdout, "$HOME|a  b|");
    let seen = system.run([
        "machine",
        "run",
        "sh",
        "-c",
        "hostname; echo $USER; cat /proc/1/comm; exit 42",
    ]);
    assert_eq!(seen.code(42).stdout, "linux-1\nroot\ninit\n");
    let id = system.run(["machine", "inspect"]).ok().stdout;
    assert!(id.contains("\"homeMount\": \"none\""), "{id}");

    // What was written stays over a reboot, which its init calls for by itself.
    system
        .run([
            "machine",
            "run",
            "sh",
            "-c",
            "echo kept > /var/log/kept; touch /dev/shm/now",
        ])
        .ok();
    system.run(["machine", "run", "reboot"]);
    eventually("it has rebooted", || {
        let seen = system.run([
            "machine",
            "run",
            "sh",
            "-c",
            "test -e /dev/shm/now || cat /var/log/kept",
        ]);
        seen.code == 0 && seen.stdout == "kept\n"
    });

    // Values that are set hold from the next boot on.
    system
        .run(["machine", "set", "cpus=2", "memory=300M"])
        .ok()
        .says("will take effect");
    system.run(["machine", "stop"]).ok();
    assert_eq!(state(&system, "linux-1"), "stopped");
    system.run(["machine", "stop", "linux-1"]).ok();
    let seen = system.run(["machine", "run", "sh", "-c", "nproc; wc -l < /var/log/ends"]);
    assert_eq!(seen.ok().stdout, "2\n2\n");

    // Its disk is kept, given back, and copied.
    system
        .run(["machine", "snapshot", "create", "linux-1", "before"])
        .code(1)
        .says("machine linux-1 is running");
    system.run(["machine", "stop"]).ok();
    let snapshot =
        |act: &str, name: &str| system.run(["machine", "snapshot", act, "linux-1", name]);
    snapshot("create", "before").ok();
    snapshot("create", "before").code(1).says("exists");
    system.run(["machine", "clone", "linux-1", "linux-2"]).ok();
    system.run(["machine", "run", "rm", "/var/log/kept"]).ok();
    let seen = system.run([
        "machine",
        "run",
        "-n",
        "linux-2",
        "sh",
        "-c",
        "hostname; cat /var/log/kept",
    ]);
    assert_eq!(seen.ok().stdout, "linux-2\nkept\n");
    system.run(["machine", "delete", "-f", "linux-2"]).ok();
    system.run(["machine", "stop"]).ok();
    snapshot("restore", "before").ok();
    snapshot("restore", "none")
        .code(1)
        .says("machine linux-1 has no snapshot none");
    system.run(["machine", "run", "cat", "/var/log/kept"]).ok();
    assert_eq!(
        system
            .run(["machine", "snapshot", "list", "-q"])
            .ok()
            .stdout,
        "before\n"
    );
    snapshot("delete", "before").ok();

    // A shutdown from inside stays one; a system that comes back has its machine again.
    system.run(["machine", "run", "poweroff"]);
    eventually("it is off", || state(&system, "linux-1") == "stopped");
    system.run(["machine", "start"]).ok();
    system.run(["system", "stop"]).ok();
    system.set_up();
    eventually("it is there again", || {
        state(&system, "linux-1") == "running"
    });
    system
        .run(["machine", "delete", "linux-1"])
        .code(1)
        .says("machine linux-1 is running");
    system.run(["machine", "delete", "--force", "linux-1"]).ok();
    assert_eq!(system.run(["machine", "list", "-q"]).ok().stdout, "");
}
