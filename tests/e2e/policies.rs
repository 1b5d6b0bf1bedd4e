//! Restart policies and health checks.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::system::{System, eventually, kill};

#[test]
fn a_container_that_fails_is_started_again_as_often_as_allowed() {
    let system = System::shared();
    let script = "echo run >> /runs; exit 3";
    system
        .run([
            "run",
            "-d",
            "--name",
            "fails",
            "--restart",
            "on-failure:2",
            "busybox",
            "sh",
            "-c",
            script,
        ])
        .ok();
    eventually("it was given up", || {
        let status = &system.inspect("fails")["status"];
        status["restartCount"] == 2 && status["state"] == "stopped"
    });
    assert_eq!(system.inspect("fails")["status"]["exitCode"], 3);
    // The last restart may be on its way when its number is shown.
    eventually("it can be started by hand", || {
        system.run(["start", "-a", "fails"]).code == 3
    });
    system.run(["stop", "fails"]).ok();
    system.run(["delete", "--force", "fails"]).ok();
}

#[test]
fn one_that_was_stopped_stays_stopped() {
    let system = System::shared();
    system
        .run([
            "run",
            "-d",
            "--name",
            "always",
            "--restart",
            "always",
            "busybox",
            "sleep",
            "1000",
        ])
        .ok();
    system.run(["stop", "-t", "0", "always"]).ok();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(system.state("always"), "stopped");
    system.run(["delete", "always"]).ok();
}

#[test]
fn health_is_checked_and_shown() {
    let system = System::shared();
    let arguments = [
        "run",
        "-d",
        "--name",
        "health",
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "200ms",
        "--health-retries",
        "2",
        "busybox",
        "sleep",
        "1000",
    ];
    system.run(arguments).ok();
    let health = || {
        system.inspect("health")["status"]["health"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    eventually("it is unhealthy", || health() == "unhealthy");
    system.run(["exec", "health", "touch", "/tmp/well"]).ok();
    eventually("it is healthy", || health() == "healthy");
    system.run(["delete", "--force", "health"]).ok();
}

/// Starts a container `id` that fails again and again, and waits until it has so often that the pauses between its
/// restarts are long.
fn failing(system: &System, id: &str, flags: &[&str]) {
    let words = ["run", "-d", "--name", id, "-m", "256M", "-c", "1"];
    let process = ["busybox", "sh", "-c", "echo run; false"];
    system
        .run(words.iter().chain(flags).chain(&process).copied())
        .ok();
    eventually("it waits for its fifth restart", || {
        let status = &system.inspect(id)["status"];
        let booting = system.helper(id).is_some();
        status["state"] == "restarting" && status["restartCount"] == 4 && !booting
    });
}

#[test]
fn a_restart_that_is_waited_for_dies_with_its_container() {
    let system = System::start();
    failing(&system, "failing", &["--restart", "always"]);
    let shown = system.run(["list"]).ok().stdout;
    assert!(shown.contains("restarting"), "{shown}");
    // It is not at rest: neither is it swept away nor deleted unasked.
    system.run(["prune"]).ok();
    system
        .run(["delete", "failing"])
        .code(1)
        .says("is not yet stopped");
    system.run(["delete", "--force", "failing"]).ok();
    // Its restart, due within 1.6 s, is not carried out on another container of its name.
    system.sleeper("failing");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        system.run(["exec", "failing", "true"]).ok();
    }
    assert_eq!(system.inspect("failing")["status"]["state"], "running");
    system.run(["delete", "--force", "failing"]).ok();
}

#[test]
fn a_restart_that_is_waited_for_follows_its_container() {
    let system = System::start();
    failing(&system, "old", &["--restart", "always"]);
    // It may be in the middle of a restart, which has a name.
    eventually("it is renamed", || {
        system.run(["rename", "old", "new"]).code == 0
    });
    eventually("it goes on failing under its new name", || {
        system.inspect("new")["status"]["restartCount"]
            .as_u64()
            .is_some_and(|count| count > 4)
    });
    system.run(["delete", "--force", "new"]).ok();
}

#[test]
fn a_restart_that_is_waited_for_outlives_the_apiserver_with_its_count() {
    let system = System::start();
    failing(&system, "failing", &["--restart", "on-failure:6"]);
    kill(system.pids("container-apiserver")[0], Signal::KILL);
    eventually("it is dead", || {
        system.pids("container-apiserver").is_empty()
    });
    system.run(["system", "start"]).ok();
    eventually("it waits for its sixth restart", || {
        let status = &system.inspect("failing")["status"];
        status["state"] == "restarting" && status["restartCount"] == 5
    });
    let followed = system.spawn(["logs", "-f", "failing"]);
    eventually("it is followed", || followed.has_output());
    system.run(["system", "stop"]).ok();
    // There is nothing to wait for any more.
    followed.outcome().ok();
    system.run(["system", "start"]).ok();
    let given_up = || {
        let status = &system.inspect("failing")["status"];
        status["state"] == "stopped" && status["restartCount"] == 6
    };
    eventually("it was given up", given_up);
    // One run, and as many more as were allowed.
    let runs = || system.run(["logs", "failing"]).ok().stdout;
    assert_eq!(runs(), "run\n".repeat(7));
    // That is known after the system's end, too.
    system.run(["system", "stop"]).ok();
    system.run(["system", "start"]).ok();
    assert!(given_up());
    system.run(["delete", "failing"]).ok();
}

#[test]
fn a_stop_between_two_restarts_is_kept() {
    let system = System::start();
    failing(&system, "failing", &["--restart", "unless-stopped"]);
    system.run(["stop", "--all"]).ok();
    assert_eq!(system.state("failing"), "stopped");
    system.run(["system", "stop"]).ok();
    system.run(["system", "start"]).ok();
    // One that rests has nothing pending: it would run, or wait to be started again.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(system.state("failing"), "stopped");
    }
    system.run(["delete", "failing"]).ok();
}

#[test]
fn a_policy_outlives_the_system_and_ends_with_it() {
    let system = System::start();
    let fails = "trap 'exit 3' TERM USR1; echo ready; while :; do sleep 0.1; done";
    let lasts = "trap '' TERM; while :; do sleep 0.1; done";
    let run = |id: &str, script: &str, policy: &str| {
        let words = ["run", "-d", "--name", id, "-m", "256M", "-c", "1"];
        let process = ["--restart", policy, "busybox", "sh", "-c", script];
        system.run(words.iter().chain(&process)).ok();
    };
    run("always", fails, "always");
    run("slow", lasts, "no");
    let started = system.inspect("always")["status"]["startedDate"].clone();
    system.run(["stop", "always"]).ok();
    system.run(["start", "always"]).ok();
    // The first has ended long before the second; nothing may start it again, or it would be left alone.
    system.run(["system", "stop"]).ok();
    eventually("every process has ended", || system.processes().is_empty());
    system.run(["system", "start"]).ok();
    eventually("it runs again", || system.state("always") == "running");
    assert_ne!(system.inspect("always")["status"]["startedDate"], started);
    // Stopped by hand, and started with the system: its failures count again.
    system.run(["stop", "always"]).ok();
    let ready = || system.run(["logs", "always"]).stdout.lines().count();
    let before = ready();
    system.run(["system", "stop"]).ok();
    system.run(["system", "start"]).ok();
    // A first process without its handler would lose the signal.
    eventually("it runs once more", || ready() == before + 1);
    // The container may end before it can tell how `kill` did.
    system.run(["exec", "always", "kill", "-USR1", "1"]);
    eventually("it was restarted", || {
        system.inspect("always")["status"]["restartCount"] == 1
    });
    system.run(["delete", "--force", "always", "slow"]).ok();
}

#[test]
fn a_restart_keeps_a_container_that_goes_when_it_stops() {
    let system = System::shared();
    let words = ["run", "-d", "--rm", "--name", "kept", "-m", "256M"];
    let process = ["busybox", "sleep", "1000"];
    system.run(words.iter().chain(&process)).ok();
    system.run(["exec", "kept", "touch", "/mark"]).ok();
    system.run(["restart", "-t", "0", "kept"]).ok();
    system.run(["exec", "kept", "ls", "/mark"]).ok();
    system.run(["stop", "-t", "0", "kept"]).ok();
    system.run(["inspect", "kept"]).code(1);
}

#[test]
fn checks_that_hang_do_not_pile_up() {
    let system = System::shared();
    let words = ["run", "-d", "--name", "hangs", "-m", "256M"].iter();
    let health = ["--health-cmd", "sleep 900; true", "--health-retries", "3"];
    let times = ["--health-interval", "100ms", "--health-timeout", "300ms"];
    let process = ["busybox", "sleep", "1000"];
    system
        .run(words.chain(&health).chain(&times).chain(&process))
        .ok();
    eventually("three checks were too slow", || {
        system.inspect("hangs")["status"]["health"] == "unhealthy"
    });
    let count = "ps | grep -c '[s]leep 900; true'; ps | grep -c '[s]leep 900$'; true";
    let left = system.run(["exec", "hangs", "sh", "-c", count]).ok().stdout;
    for line in left.lines() {
        assert!(line.parse::<u32>().unwrap() <= 1, "{left}");
    }
    system.run(["delete", "--force", "hangs"]).ok();
}

#[test]
fn the_health_of_a_paused_container_is_not_judged() {
    let system = System::shared();
    let words = ["run", "-d", "--name", "frozen", "-m", "256M"];
    let health = ["--health-cmd", "true", "--health-retries", "1"];
    let times = ["--health-interval", "100ms", "--health-timeout", "20s"];
    let process = ["busybox", "sleep", "1000"];
    let all = words.iter().chain(&health).chain(&times).chain(&process);
    system.run(all).ok();
    let health = || system.inspect("frozen")["status"]["health"].clone();
    eventually("it is healthy", || health() == "healthy");
    system.run(["pause", "frozen"]).ok();
    // An exec into frozen processes fails at once.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(health(), "healthy");
    }
    system.run(["delete", "--force", "frozen"]).ok();
}
