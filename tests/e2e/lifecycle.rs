//! create, start, stop, kill, delete, list.

use crate::system::{System, eventually};

#[test]
fn from_created_to_deleted() {
    let system = System::shared();
    let created = system
        .run([
            "create",
            "--name",
            "life",
            "busybox",
            "sh",
            "-c",
            "echo run >> /log; cat /log",
        ])
        .ok();
    assert_eq!(created.stdout, "life\n");
    assert_eq!(system.state("life"), "stopped");
    assert_eq!(system.run(["start", "-a", "life"]).ok().stdout, "run\n");
    // The writable layer is kept from one start to the next.
    assert_eq!(
        system.run(["start", "-a", "life"]).ok().stdout,
        "run\nrun\n"
    );
    assert_eq!(system.run(["delete", "life"]).ok().stdout, "life\n");
    system
        .run(["delete", "life"])
        .code(1)
        .says("container not found: life");
    assert!(!system.bundle("life").exists());
}

#[test]
fn stop_asks_and_then_kills() {
    let system = System::shared();
    system
        .run([
            "run",
            "-d",
            "--name",
            "polite",
            "busybox",
            "sh",
            "-c",
            "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done",
        ])
        .ok();
    eventually("it would hear the signal", || {
        system.run(["logs", "polite"]).stdout == "ready\n"
    });
    let asked = system.run(["stop", "-t", "60", "polite"]).ok();
    assert_eq!(asked.stdout, "polite\n");
    assert_eq!(system.inspect("polite")["status"]["exitCode"], 3);
    system.run(["start", "polite"]).ok();
    system.run(["kill", "polite"]).ok();
    eventually("it was killed", || system.state("polite") == "stopped");
    assert_eq!(system.inspect("polite")["status"]["exitCode"], 137);
    system.run(["delete", "polite"]).ok();

    // `sleep` as PID 1 does not care about SIGTERM.
    system.sleeper("stubborn");
    let begun = std::time::Instant::now();
    system.run(["stop", "-t", "1", "stubborn"]).ok();
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    assert_eq!(system.inspect("stubborn")["status"]["exitCode"], 137);
    system.run(["stop", "stubborn"]).ok();
    system.run(["delete", "stubborn"]).ok();
}

/// A terminal that was stopped, or a pipe that nobody reads, must not cost the container its orderly end.
#[test]
fn a_client_that_reads_nothing_does_not_spoil_a_stop() {
    let system = System::shared();
    let script = "trap 'echo kept >/kept; exit 3' TERM; echo ready >/ready; yes & wait";
    let client = system.spawn(["run", "--name", "stuck", "busybox", "sh", "-c", script]);
    eventually("it would hear the signal", || {
        system.run(["exec", "stuck", "test", "-e", "/ready"]).code == 0
    });
    system.run(["stop", "-t", "2", "stuck"]).ok();
    assert_eq!(system.inspect("stuck")["status"]["exitCode"], 3);
    drop(client);
    system.run(["delete", "stuck"]).ok();
}

#[test]
fn lists_what_runs_and_with_all_what_does_not() {
    let system = System::start();
    system.sleeper("runs");
    system
        .run(["create", "--name", "rests", "busybox", "true"])
        .ok();
    assert_eq!(system.run(["list", "-q"]).ok().stdout, "runs\n");
    assert_eq!(system.run(["ls", "-a", "-q"]).ok().stdout, "rests\nruns\n");
    let table = system.run(["list"]).ok().stdout;
    let header: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        header,
        [
            "ID", "IMAGE", "OS", "ARCH", "STATE", "IP", "CPUS", "MEMORY", "STARTED"
        ]
    );
    let listed = system.list();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["status"]["state"], "running");
    assert_eq!(
        listed[1]["configuration"]["resources"]["memoryInBytes"],
        256 << 20
    );
    for format in ["yaml", "toml"] {
        assert!(
            system
                .run(["list", "-a", "--format", format])
                .ok()
                .stdout
                .contains("rests")
        );
    }
    system
        .run(["delete", "runs"])
        .code(1)
        .says("not yet stopped");
    assert_eq!(
        system
            .run(["delete", "--all", "--force"])
            .ok()
            .stdout
            .lines()
            .count(),
        2
    );
    assert!(system.list().is_empty());
}

#[test]
fn start_of_a_running_container_is_fine() {
    let system = System::shared();
    system.sleeper("twice");
    assert_eq!(system.run(["start", "twice"]).ok().stdout, "twice\n");
    system
        .run(["start", "-a", "twice"])
        .code(1)
        .says("attach is currently unsupported on already running containers");
    system.run(["delete", "-f", "twice"]).ok();
}

#[test]
fn two_systems_run_side_by_side() {
    let (one, two) = (System::shared(), System::start());
    one.sleeper("same");
    two.sleeper("same");
    two.run(["delete", "-f", "same"]).ok();
    assert_eq!(one.state("same"), "running");
    one.run(["delete", "-f", "same"]).ok();
}
