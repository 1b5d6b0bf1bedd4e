//! A host that has no room for what containers write.

use std::process::Command;
use std::time::Duration;

use crate::exhaustion::Disk;
use crate::system::{SMALL, System, eventually, within};

/// What is said of a container that stands still.
const NO_ROOM: &str =
    "the host's file system is full: the container stands still until there is room";

#[test]
fn a_container_waits_for_room_on_the_host_and_goes_on() {
    // Only root may mount a small file system.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let system = System::stopped();
    std::fs::create_dir(system.app()).unwrap();
    let disk = Disk::mount(system.app());
    system.configure("[container]\nstandby = false\n[storage]\nreserve = \"0\"\n");
    system.set_up();
    let shared = system.scratch().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("f"), "shared\n").unwrap();
    let share = format!("{}:/share", shared.display());
    let run = |name: &str, more: &[&str]| {
        let words = ["run", "-d", "--no-template", "--name", name];
        let words = words
            .iter()
            .chain(&SMALL)
            .chain(more)
            .chain(&["busybox", "sleep", "100000"]);
        system.run(words).ok();
    };
    run("goes-on", &["-v", "data:/data", "-v", &share]);
    run("ends", &["-v", &share]);
    let events = system.spawn(["events"]);

    // They run before the disk is full: a machine may stand still by what its kernel writes, and then nothing is started in it.
    let waits = |id: &str, script: &str| {
        let script = format!("echo begun; until [ -e /share/go ]; do sleep 0.1; done; {script}");
        let waiting = system.spawn(["exec", id, "sh", "-c", &script]);
        eventually("it has begun", || waiting.has_output());
        waiting
    };
    // More than the guest's memory may be dirty with, and each byte is looked at again.
    let writes = waits(
        "goes-on",
        "yes abcdefg | head -c 100000000 >/data/f && sync && md5sum </data/f && cat /share/f && date +%s",
    );
    let full = waits("ends", "yes | head -c 50000000 >/f; sync");
    let fill = disk.fill();
    std::fs::write(shared.join("go"), "").unwrap();
    for name in ["goes-on", "ends"] {
        within(Duration::from_secs(60), "it stands still", || {
            system.inspect(name)["status"]["standstill"] == "full"
        });
    }
    let list = system.run(["list"]).ok().stdout;
    assert_eq!(
        list.matches("running (host's disk is full)").count(),
        2,
        "{list}"
    );
    let small = system.scratch().join("small");
    std::fs::write(&small, "x").unwrap();
    let small = small.to_str().unwrap();
    for words in [
        &["exec", "goes-on", "true"][..],
        &["cp", small, "goes-on:/data/small"],
        &["cp", "goes-on:/data/f", "-"],
    ] {
        // With the way out.
        let outcome = system.run(words).code(1).says(NO_ROOM);
        outcome.says("The container goes on by itself then");
    }
    for words in [&["pause", "goes-on"][..], &["kill", "-s", "TERM", "ends"]] {
        system.run(words).code(1).says(NO_ROOM);
    }
    // It is ended all the same.
    system.run(["kill", "ends"]).ok();
    eventually("it has ended", || system.state("ends") == "stopped");
    assert_eq!(full.outcome().code, 137);
    let status = &system.inspect("ends")["status"];
    let reason = status["reason"].as_str().unwrap();
    assert!(
        reason.contains("it stood still, as the host's file system is full"),
        "{reason}"
    );
    system
        .run(["start", "ends"])
        .code(1)
        .says("No space left on device");
    assert_eq!(system.inspect("goes-on")["status"]["standstill"], "full");

    std::fs::remove_file(fill).unwrap();
    let written = writes.outcome().ok().stdout;
    let lines: Vec<&str> = written.lines().collect();
    // `yes abcdefg | head -c 100000000 | md5sum`
    assert_eq!(
        lines[..3],
        ["begun", "e4e8fdd35b6595654599f9eb45258350  -", "shared"]
    );
    system
        .run([
            "exec",
            "goes-on",
            "sh",
            "-c",
            "echo more >>/data/f && sync && dmesg",
        ])
        .ok();
    let now = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    eventually("the clock is right", || {
        let time = system.run(["exec", "goes-on", "date", "+%s"]).ok().stdout;
        time.trim().parse::<u64>().unwrap().abs_diff(now()) <= 2
    });
    assert!(system.inspect("goes-on")["status"]["standstill"].is_null());
    system.run(["start", "ends"]).ok();
    system.run(["delete", "--force", "ends"]).ok();
    system.run(["stop", "-t", "0", "goes-on"]).ok();
    crate::volumes::check(&crate::volumes::disk(&system, "data"), system.scratch());
    system.run(["system", "stop"]).ok();
    let events = events.outcome().stdout;
    for word in ["stall goes-on", "stall ends", "proceed goes-on"] {
        assert!(events.contains(word), "{events}");
    }
}

#[test]
fn a_disk_that_may_grow_no_further_stops_its_container_and_harms_no_file_system() {
    // A VMM of root's has an id of its own, and only who has it may change its limits: root may, where it has CAP_SYS_RESOURCE.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let system = System::start();
    let words = ["run", "-d", "--name", "limited", "-v", "data:/data"];
    let words = words.into_iter().chain(SMALL);
    system.run(words.chain(["busybox", "sleep", "100000"])).ok();
    let pid = system.vmm("limited");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let owner = |key: &str| {
        let mut words = status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap()
            .split_whitespace();
        words.next().unwrap().to_owned()
    };
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let sizes = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max file size"))
        .unwrap();
    let before = sizes.split_whitespace().next().unwrap();
    let limit = |size: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &owner("Uid:"), "--regid", &owner("Gid:")]);
        command.args(["--clear-groups", "prlimit", "--pid", &pid.to_string()]);
        let changed = command.arg(format!("--fsize={size}:")).status();
        assert!(changed.unwrap().success(), "{command:?}");
    };
    let events = system.spawn(["events"]);
    limit("1048576");
    let script = "yes abcdefg | head -c 50000000 >/data/f && sync && md5sum </data/f";
    let writes = system.spawn(["exec", "limited", "sh", "-c", script]);
    within(Duration::from_secs(60), "it stands still", || {
        system.inspect("limited")["status"]["standstill"] == "fileSize"
    });
    let list = system.run(["list"]).ok().stdout;
    assert!(
        list.contains("running (host's limit of file sizes)"),
        "{list}"
    );
    let told =
        "the host lets a disk's file grow no further: the container stands still until it may";
    system.run(["exec", "limited", "true"]).code(1).says(told);
    limit(before);
    // `yes abcdefg | head -c 50000000 | md5sum`
    assert_eq!(
        writes.outcome().ok().stdout,
        "451165ad42333bd73807326ec93dd805  -\n"
    );
    let script = "echo more >>/data/f && sync && echo x >/root/f && sync";
    system.run(["exec", "limited", "sh", "-c", script]).ok();
    assert!(system.inspect("limited")["status"]["standstill"].is_null());
    system.run(["stop", "-t", "0", "limited"]).ok();
    crate::volumes::check(&crate::volumes::disk(&system, "data"), system.scratch());
    system.run(["system", "stop"]).ok();
    let events = events.outcome().stdout;
    assert!(events.contains("reason=fileSize"), "{events}");
}
