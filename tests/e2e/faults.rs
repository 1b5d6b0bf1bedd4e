//! Processes that die, bundles that are damaged.

use std::time::Duration;

use rustix::process::Signal;

use crate::system::{System, kill, within};

/// How soon a dead machine must be told of.
const SOON: Duration = Duration::from_secs(2);

#[test]
fn a_killed_helper_or_vmm_stops_its_container_and_no_other() {
    let system = System::start();
    for id in ["helper", "vmm", "other"] {
        system.sleeper(id);
    }
    let waiting = system.spawn(["exec", "vmm", "sleep", "1000"]);
    let vmm = system.vmm("helper");
    kill(system.pids("--uuid helper")[0], Signal::KILL);
    within(
        SOON,
        "the container of the killed helper is stopped",
        || system.state("helper") == "stopped",
    );
    within(SOON, "its VMM is gone", || {
        !std::path::Path::new(&format!("/proc/{vmm}")).exists()
    });
    kill(system.vmm("vmm"), Signal::KILL);
    within(SOON, "the container of the killed VMM is stopped", || {
        system.state("vmm") == "stopped"
    });
    assert_ne!(waiting.outcome().code, 0);
    for (id, reason) in [("helper", "helper"), ("vmm", "signal 9")] {
        let status = &system.inspect(id)["status"];
        assert!(
            status["reason"].as_str().unwrap().contains(reason),
            "{status}"
        );
    }
    assert_eq!(
        system.run(["exec", "other", "echo", "alive"]).ok().stdout,
        "alive\n"
    );
    // Nothing is in the way of another start.
    system.run(["start", "helper"]).ok();
    system.run(["exec", "helper", "true"]).ok();
    system.run(["delete", "--all", "--force"]).ok();
    let left: Vec<_> = std::fs::read_dir(system.app().join("containers"))
        .unwrap()
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_hung_helper_delays_nobody_and_can_be_deleted() {
    let system = System::start();
    system.sleeper("hung");
    let helper = system.pids("--uuid hung")[0];
    kill(helper, Signal::STOP);
    assert_eq!(system.run(["list", "-q"]).ok().stdout, "hung\n");
    // Not `exec`: its streams are on their way to the helper, which keeps them open.
    let asked = system.spawn(["top", "hung"]);
    system.run(["run", "--rm", "busybox", "true"]).ok();
    asked
        .outcome()
        .code(1)
        .says("the runtime helper does not answer");
    system.run(["delete", "--force", "hung"]).ok();
    assert!(system.list().is_empty());
}

#[test]
fn a_damaged_bundle_is_listed_and_kept() {
    let system = System::start();
    system
        .run(["create", "--name", "damaged", "busybox", "true"])
        .ok();
    system
        .run(["create", "--name", "sound", "busybox", "true"])
        .ok();
    system.run(["system", "stop"]).ok();
    std::fs::write(
        system.bundle("damaged").join("config.json"),
        "{\"id\": \"dam",
    )
    .unwrap();
    system.run(["system", "start"]).ok();
    let status = &system.inspect("damaged")["status"];
    assert_eq!(status["state"], "unknown");
    assert!(
        status["reason"].as_str().unwrap().contains("config.json"),
        "{status}"
    );
    system
        .run(["start", "damaged"])
        .code(1)
        .says("cannot be read");
    assert_eq!(system.run(["start", "-a", "sound"]).ok().code, 0);
    system.run(["delete", "--force", "damaged"]).ok();
    assert!(!system.bundle("damaged").exists());
}

#[test]
fn core_images_comes_back() {
    let system = System::start();
    kill(system.pids("container-core-images")[0], Signal::KILL);
    system.run(["run", "--rm", "busybox", "true"]).ok();
}
