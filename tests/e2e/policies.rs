//! Restart policies and health checks.

use crate::system::{System, eventually};

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
