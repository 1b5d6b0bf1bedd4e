//! Starts with a machine that waits for them.

use rustix::process::Signal;

use crate::namespace::Namespace;
use crate::system::{System, eventually, expect_now, kill};

/// A system that keeps a machine waiting, with one that does.
fn ready() -> System {
    let system = System::stopped();
    system.configure("");
    system.set_up();
    run(&system, "first", "true");
    wait_for_standby(&system);
    system
}

/// Runs a container to its end; gives what it printed.
fn run(system: &System, id: &str, script: &str) -> String {
    let words = ["run", "--name", id, "-c", "1", "-m", "256M", "busybox"];
    let process = ["sh", "-c", script];
    system.run(words.iter().chain(&process)).ok().stdout
}

fn wait_for_standby(system: &System) {
    eventually("a machine waits", || waits(system));
}

fn waits(system: &System) -> bool {
    let listed = system.run(["system", "template", "list", "--format", "json"]);
    listed.ok().stdout.contains("\"standby\":true")
}

/// The helper that waits, and its VMM.
fn helper(system: &System) -> (u32, u32) {
    let [helper] = system.waiting_helpers()[..] else {
        panic!("{:?}", system.processes());
    };
    (helper, children(helper).trim().parse().unwrap())
}

/// Process ids of the children of `process`, which has one thread; none of one that has ended.
fn children(process: u32) -> String {
    let children = format!("/proc/{process}/task/{process}/children");
    std::fs::read_to_string(children).unwrap_or_default()
}

/// Whether `id` was started in a machine that had waited, by its timeline.
fn waited(system: &System, id: &str) -> bool {
    let timeline = std::fs::read_to_string(system.bundle(id).join("timeline.json")).unwrap();
    timeline.contains("standby taken")
}

#[test]
fn a_start_takes_the_machine_that_waits_and_makes_it_its_own() {
    let system = ready();
    let script = "cat /proc/sys/kernel/random/uuid; date +%s; hostname; cat /proc/self/cgroup; \
                  echo mine > /mark; grep -c . /proc/mounts; ls /; dmesg | tail -1";
    let one = run(&system, "one", script);
    assert!(waited(&system, "one"));
    wait_for_standby(&system);
    let (helper_before, _) = helper(&system);
    let two = run(&system, "two", script);
    assert!(waited(&system, "two"));
    let cold = ["run", "--name", "cold", "--no-template", "-c", "1"];
    let process = ["-m", "256M", "busybox", "sh", "-c", script];
    let cold = system.run(cold.iter().chain(&process)).ok().stdout;
    assert!(!waited(&system, "cold"));
    let lines = [&one, &two, &cold].map(|text| text.lines().collect::<Vec<_>>());
    let [one, two, cold] = &lines;
    // Fresh entropy before the first process, the right time, an identity of its own.
    assert_ne!(one[0], two[0]);
    expect_now(two[1]);
    assert_eq!((one[2], two[2], cold[2]), ("one", "two", "cold"));
    // Nothing of the rehearsal, or of the one before, is to be seen.
    assert_eq!(one[3..one.len() - 1], cold[3..cold.len() - 1]);
    assert_eq!(two[3..two.len() - 1], cold[3..cold.len() - 1]);
    // The writable layer is the container's, and its helper is listed as any other.
    wait_for_standby(&system);
    // A container that has files of the host boots: the machine goes on waiting for others.
    let (waiting, _) = helper(&system);
    let shared = ["run", "--rm", "-v", "/etc/passwd:/p:ro", "-c", "1"];
    let process = ["-m", "256M", "busybox", "cat", "/p"];
    system.run(shared.iter().chain(&process)).ok();
    assert_eq!(helper(&system).0, waiting);
    let words = ["run", "-d", "--name", "lasting", "-c", "1", "-m", "256M"];
    let process = ["busybox", "sleep", "1000"];
    system.run(words.iter().chain(&process)).ok();
    assert!(waited(&system, "lasting"));
    assert_eq!(system.helpers().len(), 1);
    assert_ne!(system.helper("lasting").unwrap(), helper_before);
    system.run(["exec", "lasting", "touch", "/kept"]).ok();
    system.run(["stop", "-t", "0", "lasting"]).ok();
    system.run(["start", "lasting"]).ok();
    system.run(["exec", "lasting", "ls", "/kept"]).ok();
    let log = system.run(["logs", "--boot", "lasting"]).ok();
    assert_eq!(log.stderr, "");
}

#[test]
fn a_machine_that_waits_is_put_on_the_network_of_its_container() {
    let host = Namespace::new();
    let system = System::stopped().in_namespace(&host);
    system.configure("");
    system.set_up();
    let run = |flags: &[&str], script: &str| {
        let words = ["run", "-c", "1", "-m", "256M", "--network", "default"];
        let process = ["busybox", "sh", "-c", script];
        system.run(words.iter().chain(flags).chain(&process)).ok()
    };
    run(&["-d", "--name", "peer"], "sleep 1000");
    let shown = system.inspect("peer");
    let address = shown["status"]["networks"][0]["ipv4Address"]
        .as_str()
        .unwrap();
    let (peer, _) = address.split_once('/').unwrap_or((address, ""));
    for id in ["one", "two"] {
        wait_for_standby(&system);
        let script = format!(
            "ping -c 1 -W 5 {peer} >&2 && cat /sys/class/net/eth0/address && ip address && ip route && ip -6 route"
        );
        let said = run(&["--name", id], &script).stdout;
        assert!(waited(&system, id), "{id}");
        let (mac, network) = said.split_once('\n').unwrap();
        let shown = system.inspect(id)["status"]["networks"][0]["macAddress"].clone();
        assert!(shown.is_null() || shown == mac, "{shown} {mac}");
        // Nor is anything of the rehearsal's network there.
        for of_rehearsal in ["192.0.2.", "2001:db8:"] {
            assert!(!network.contains(of_rehearsal), "{network}");
        }
    }
}

#[test]
fn a_machine_that_waits_may_be_killed_or_stand_still() {
    let system = ready();
    for (round, victim) in ["helper", "vmm", "stopped vmm", "stopped helper"]
        .into_iter()
        .enumerate()
    {
        let (helper, vmm) = helper(&system);
        match victim {
            "helper" => kill(helper, Signal::KILL),
            "vmm" => kill(vmm, Signal::KILL),
            "stopped vmm" => kill(vmm, Signal::STOP),
            _ => kill(helper, Signal::STOP),
        }
        let id = format!("after-{round}");
        assert_eq!(run(&system, &id, "echo $((6 * 7))"), "42\n", "{victim}");
        assert!(!waited(&system, &id));
        wait_for_standby(&system);
    }
    // Nothing but the machine that waits now, its helper and the daemons.
    let (helper, _) = helper(&system);
    assert_eq!(system.pids("container-runtime-linux"), [helper]);
    let apiserver = system.pids("container-apiserver")[0];
    kill(apiserver, Signal::KILL);
    eventually("nobody waits for a dead apiserver", || {
        system.pids("container-runtime-linux").is_empty()
    });
    system.run(["system", "start"]).ok();
    assert_eq!(run(&system, "again", "echo on"), "on\n");
}

#[test]
fn it_is_for_the_shape_that_was_started_last_and_goes_with_its_template() {
    let system = ready();
    let other = |id: &str, flags: &[&str]| {
        let words = ["run", "--name", id].into_iter();
        let words = words.chain(flags.iter().copied());
        system.run(words.chain(["busybox", "true"])).ok();
        assert!(!waited(&system, id));
    };
    other("memory", &["-c", "1", "-m", "320M"]);
    eventually("the machine is of the new shape", || {
        let listed = system.run(["system", "template", "list", "--format", "json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        let waiting = |size: u64| {
            let mut rows = listed.as_array().unwrap().iter();
            rows.any(|row| row["memoryInBytes"] == size << 20 && row["standby"] == true)
        };
        waiting(320 + 128) && !waiting(256 + 128)
    });
    other("asked", &["--no-template", "-c", "1", "-m", "320M"]);
    assert!(waits(&system));
    let helpers = || system.waiting_helpers();
    system.run(["system", "template", "prune"]).ok();
    eventually("the machine has gone", || helpers().is_empty());
    run(&system, "next", "true");
    eventually("a machine is prepared", || {
        helpers()
            .first()
            .is_some_and(|helper| !children(*helper).is_empty())
    });
    system.run(["system", "template", "prune"]).ok();
    eventually("it was given up", || helpers().is_empty());
    assert!(!waits(&system));
}

#[test]
fn a_machine_that_waits_takes_the_volumes_of_its_container() {
    let system = ready();
    let with = |id: &str, volume: &str, script: &str| {
        let words = ["run", "--name", id, "-c", "1", "-m", "256M", "-v", volume];
        let process = ["busybox", "sh", "-c", script];
        system.run(words.iter().chain(&process)).ok().stdout
    };
    let prepared_anew = |before: u32| {
        eventually("a machine with the volume's disk waits", || {
            matches!(system.waiting_helpers()[..], [helper] if helper != before) && waits(&system)
        });
    };
    let (plain, _) = helper(&system);
    assert_eq!(with("one", "kept:/kept", "echo one > /kept/file"), "");
    assert!(!waited(&system, "one"));
    prepared_anew(plain);
    let said = with(
        "two",
        "kept:/other",
        "cat /other/file; ls -A /other; echo two >> /other/file",
    );
    assert_eq!(said, "one\nfile\n");
    assert!(waited(&system, "two"));
    wait_for_standby(&system);
    // A new volume is filled, and nothing of the rehearsal, nor of another volume, is in it.
    let said = with(
        "three",
        "new:/etc",
        "ls /etc/passwd; ls -A /etc | grep -c -e file -e mnt -e rehearsal; true",
    );
    assert_eq!(said, "/etc/passwd\n0\n");
    assert!(waited(&system, "three"));
    wait_for_standby(&system);
    let (writes, _) = helper(&system);
    // Read only it is another disk.
    let read = "cat /kept/file; touch /kept/x 2>&1 | grep -c Read-only";
    assert_eq!(with("four", "kept:/kept:ro", read), "one\ntwo\n1\n");
    assert!(!waited(&system, "four"));
    prepared_anew(writes);
    assert_eq!(with("five", "kept:/kept:ro", read), "one\ntwo\n1\n");
    assert!(waited(&system, "five"));
    for volume in ["kept", "new"] {
        let disk = system.app().join("volumes").join(volume).join("volume.img");
        let checked = std::process::Command::new("e2fsck")
            .arg("-fn")
            .arg(disk)
            .output();
        let checked = checked.unwrap();
        assert!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stdout)
        );
    }
}
