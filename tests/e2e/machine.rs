//! Container machines.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::leaks::Left;
use crate::sockets::{Agent, import_tools};
use crate::system::{System, eventually, kill};
use crate::templates::wait_for_template;

/// Makes of busybox a root that has an init, in the container `base`.
const INIT: &str = "ln -s /bin/busybox /sbin/init; echo ::respawn:/bin/sleep 100000 > /etc/inittab; \
                    echo ::shutdown:/bin/sh -c \\'echo over \\>\\> /var/log/ends\\' >> /etc/inittab; mkdir /etc/machine; \
                    printf '/sbin.machine/create-user.sh && echo $CONTAINER_MACHINE_ID >> /etc/first\\n' > /etc/machine/create-user.sh";

/// Makes the machine `dev`, a small one, of the image that follows.
const CREATE: [&str; 10] = [
    "machine",
    "create",
    "--name",
    "dev",
    "--home-mount",
    "none",
    "-m",
    "256M",
    "-c",
    "1",
];

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
    let none = ["machine", "stats", "--no-stream", "--format", "json"];
    assert_eq!(system.run(none).ok().stdout, "[]\n");
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
    let seen: serde_json::Value = serde_json::from_str(&id).unwrap();
    let container = seen[0]["containerId"].as_str().unwrap();
    system
        .run(["delete", "--force", container])
        .code(1)
        .says("is that of machine linux-1");

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
            "test -e /dev/shm/now || cat /var/log/kept /etc/first",
        ]);
        // Its own script has set the user up, once.
        seen.code == 0 && seen.stdout == "kept\nlinux-1\n"
    });

    // Values that are set hold from the next boot on; what cannot hold is told now.
    system
        .run(["machine", "set", "kernel=/no/such"])
        .code(64)
        .says("/no/such");
    let virtualization = system.run(["machine", "set", "virtualization=true"]);
    if virtualization.code != 0 {
        virtualization
            .code(1)
            .says("nested virtualization is off on this host");
    }
    system
        .run(["machine", "set", "virtualization=false", "kernel="])
        .ok();
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
    // The same where it went with the host, at once and unseen.
    for program in ["container-apiserver", "container-runtime-linux"] {
        for pid in system.pids(program) {
            kill(pid, Signal::KILL);
        }
    }
    system.run(["system", "start"]).ok();
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

/// Commits the image `linux` of `image`, which has busybox.
fn commit_with_init(system: &System, image: &str) {
    let init = format!("mkdir -p /sbin /etc; {INIT}");
    system
        .run(["run", "--name", "base", image, "busybox", "sh", "-c", &init])
        .ok();
    system.run(["commit", "base", "linux:1"]).ok();
    system.run(["delete", "base"]).ok();
}

#[test]
fn a_machine_that_runs_is_copied_and_reaches_the_agent_of_who_came_last() {
    let system = System::stopped();
    // What is not said is configured.
    system.configure(
        "[container]\nstandby = false\n[machine]\ncpus = 1\nmemory = \"256mb\"\nhomeMount = \"none\"\n",
    );
    system.set_up();
    import_tools(&system);
    commit_with_init(&system, "tools");
    let machine = |words: &[&str], agent: Option<&Agent>| {
        let mut command = system.command(["machine"].iter().chain(words));
        command.env_remove("SSH_AUTH_SOCK");
        if let Some(agent) = agent {
            command.env("SSH_AUTH_SOCK", &agent.socket);
        }
        crate::system::Outcome::from(command.output().unwrap())
    };
    let keys = ["run", "ssh-add", "-l"];
    let (first, second) = (
        Agent::start(&system, "first"),
        Agent::start(&system, "second"),
    );

    // Nobody is logged in when it boots, and no word is lost about it.
    let made = machine(&["create", "--name", "dev", "linux:1"], None).ok();
    assert_eq!((made.stdout.as_str(), made.stderr.as_str()), ("dev\n", ""));
    let shown = machine(&["inspect", "dev"], None).ok().stdout;
    for value in [
        "\"cpus\": 1",
        "\"memory\": 268435456",
        "\"homeMount\": \"none\"",
    ] {
        assert!(shown.contains(value), "{shown}");
    }
    for agent in [&first, &second] {
        let listed = machine(&keys, Some(agent)).ok().stdout;
        assert!(listed.contains(&agent.fingerprint), "{listed}");
    }
    // Another one has none of its own, and reaches the last one's, also after a reboot.
    machine(&["run", "busybox", "touch", "/dev/shm/now"], None).ok();
    machine(&["run", "busybox", "reboot"], None);
    // Before it has gone down it is there, too.
    let again = ["run", "sh", "-c", "test ! -e /dev/shm/now && ssh-add -l"];
    eventually("its agent is there again", || {
        machine(&again, None).stdout.contains(&second.fingerprint)
    });

    // Something is written all the time; what was written before is in both copies, whole.
    let write = "echo kept > /var/kept; while :; do echo $RANDOM >> /var/all; done";
    machine(&["run", "-d", "sh", "-c", write], None).ok();
    eventually("it writes", || {
        machine(&["run", "busybox", "test", "-s", "/var/all"], None).code == 0
    });
    machine(&["snapshot", "create", "dev", "now"], None).ok();
    machine(&["snapshot", "create", "dev", "now"], None)
        .code(1)
        .says("exists");
    machine(&["clone", "dev", "other"], None).ok();
    machine(&["clone", "dev", "other"], None)
        .code(1)
        .says("machine already exists: other");
    machine(&["run", "busybox", "rm", "/var/kept"], None).ok();
    let seen = machine(
        &[
            "run",
            "-n",
            "other",
            "sh",
            "-c",
            "cat /var/kept; busybox hostname",
        ],
        None,
    );
    assert!(seen.stdout.ends_with("kept\nother\n"), "{seen:?}");
    machine(&["snapshot", "restore", "dev", "now"], None)
        .code(1)
        .says("machine dev is running");
    machine(&["stop", "--time", "0", "dev"], None).ok();
    machine(&["snapshot", "restore", "dev", "now"], None).ok();
    machine(&["run", "-n", "dev", "cat", "/var/kept"], None).ok();
    for name in ["dev", "other"] {
        machine(&["delete", "--force", name], None).ok();
    }
}

#[test]
fn a_machine_that_is_being_made_does_not_outlive_its_maker() {
    let system = System::start();
    commit_with_init(&system, "busybox");
    for image in ["busybox", "linux:1"] {
        let made = system.spawn(CREATE.iter().chain(&[image]));
        let containers = system.app().join("containers");
        let bundles = || -> Vec<_> {
            let entries = std::fs::read_dir(&containers).unwrap().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        // It has a bundle, and whether it has an init is being looked at.
        eventually("its image is looked at", || {
            let mut bundles = bundles().into_iter();
            bundles.any(|bundle| {
                bundle.join("unfinished").exists() && bundle.join("config.json").exists()
            })
        });
        assert_eq!(system.run(["machine", "list", "-q"]).ok().stdout, "");
        kill(system.pids("container-apiserver")[0], Signal::KILL);
        assert_ne!(made.outcome().code, 0);
        system.run(["system", "start"]).ok();
        assert_eq!(system.run(["machine", "list", "-q"]).ok().stdout, "");
        eventually("nothing of it is left", || bundles().is_empty());
    }
    system.run(CREATE.iter().chain(&["linux:1"])).ok();
    system.run(["machine", "delete", "--force", "dev"]).ok();
}

/// The full number of rounds; takes minutes.
#[test]
#[ignore = "long: `cargo test -p container-tests many_machines_leave -- --ignored`"]
fn many_machines_leave_nothing() {
    let system = System::start();
    commit_with_init(&system, "busybox");
    let round = || {
        system.run(CREATE.iter().chain(&["linux:1"])).ok();
        let seen = system.run(["machine", "run", "hostname"]).ok();
        assert_eq!(seen.stdout, "dev\n");
        system.run(["machine", "stop"]).ok();
        system.run(["machine", "delete", "dev"]).ok();
    };
    // The first one makes a template, which stays.
    round();
    wait_for_template(&system);
    round();
    let before = Left::by(&system);
    for _ in 0..50 {
        round();
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) && Left::by(&system) != before {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(Left::by(&system), before);
}
