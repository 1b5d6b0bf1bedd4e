//! Processes that die, bundles that are damaged.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::system::{System, kill, within};

/// How soon a dead machine must be told of.
const SOON: Duration = Duration::from_secs(2);
/// How soon a container that hangs must be deleted: a second, and one for a busy host.
const PROMPT: Duration = Duration::from_secs(2);
/// Longer than anything takes on a loaded machine, and shorter than the time for which a guest is waited for.
const UNDELAYED: Duration = Duration::from_secs(20);

#[test]
fn a_killed_helper_or_vmm_stops_its_container_and_no_other() {
    let system = System::start();
    for id in ["helper", "vmm", "other"] {
        system.sleeper(id);
    }
    let waiting = system.spawn(["exec", "vmm", "sleep", "1000"]);
    let vmm = system.vmm("helper");
    kill(system.helper("helper").unwrap(), Signal::KILL);
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
    let helper = system.helper("hung").unwrap();
    kill(helper, Signal::STOP);
    assert_eq!(system.run(["list", "-q"]).ok().stdout, "hung\n");
    // Not `exec`: its streams are on their way to the helper, which keeps them open.
    let asked = system.spawn(["top", "hung"]);
    system.run(["run", "--rm", "busybox", "true"]).ok();
    asked
        .outcome()
        .code(1)
        .says("the runtime helper does not answer");
    let begun = Instant::now();
    system.run(["delete", "--force", "hung"]).ok();
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    assert!(system.list().is_empty());
}

#[test]
fn a_hung_guest_delays_nobody_and_can_be_stopped_and_goes_on() {
    let system = System::start();
    // It uses all of its CPU, so that the time without it is charged to it.
    let busy = ["sh", "-c", "trap exit TERM; while :; do :; done"];
    for id in ["hung", "stopped", "deleted"] {
        let words = [
            "run", "-d", "--name", id, "-m", "256M", "-c", "1", "busybox",
        ];
        system.run(words.into_iter().chain(busy)).ok();
    }
    system.sleeper("other");
    let vmms = ["hung", "stopped", "deleted"].map(|id| system.vmm(id));
    for vmm in vmms {
        kill(vmm, Signal::STOP);
    }
    let asked: Vec<_> = [
        &["exec", "hung", "sleep", "100000"][..],
        &["top", "hung"],
        &["pause", "hung"],
    ]
    .map(|words| system.spawn(words))
    .into();
    let sampled = system.spawn(["stats", "--no-stream", "--format", "json"]);

    let begun = Instant::now();
    assert_eq!(system.list().len(), 4);
    system.run(["exec", "other", "true"]).ok();
    system.run(["run", "--rm", "busybox", "true"]).ok();
    assert!(begun.elapsed() < UNDELAYED);

    let begun = Instant::now();
    system.run(["stop", "-t", "1", "stopped"]).ok();
    // Its grace, and 5 s for the end of its processes: once, not twice.
    assert!(begun.elapsed() < Duration::from_secs(11));
    assert_eq!(system.state("stopped"), "stopped");
    let begun = Instant::now();
    system.run(["delete", "--force", "deleted"]).ok();
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());

    // The others' samples are shown.
    let sampled = sampled.outcome().code(1);
    assert!(sampled.stdout.contains("\"other\""), "{sampled:?}");
    let sampled = sampled.says("container hung: no answer within 10 s");
    assert!(!sampled.stdout.contains("\"hung\""), "{sampled:?}");
    for asked in asked {
        let outcome = asked.outcome().code(1);
        let text = "Error: the guest did not answer within 30 s\n";
        assert_eq!(outcome.stderr, text);
    }
    kill(vmms[0], Signal::CONT);
    let begun = Instant::now();
    let outcome = system.run(["exec", "hung", "echo", "alive"]).ok();
    assert_eq!(outcome.stdout, "alive\n");
    // The time without it, more than 30 s, is not held against it.
    assert!(begun.elapsed() < UNDELAYED);
    // What was told to have failed is not done later.
    within(UNDELAYED, "no other process runs", || {
        system.sample("hung")["numProcesses"] == 1
    });
    assert_eq!(system.state("hung"), "running");
    system.run(["stop", "hung"]).ok();
    system.run(["start", "stopped"]).ok();
    system.run(["delete", "--all", "--force"]).ok();
}

#[test]
fn a_damaged_bundle_is_listed_and_kept() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 7] = [
        ("cut", |path| {
            std::fs::write(path, "{\"id\": \"dam").unwrap();
        }),
        ("directory", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
        ("dangling", |path| {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/absent/config.json", path).unwrap();
        }),
        ("circular", |path| {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("config.json", path).unwrap();
        }),
        ("fifo", make_fifo),
        ("socket", |path| {
            std::fs::remove_file(path).unwrap();
            drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        }),
        ("huge", |path| {
            let file = std::fs::File::create(path).unwrap();
            file.set_len(1 << 40).unwrap();
        }),
    ];
    let system = System::start();
    let ids = damages.iter().map(|(id, _)| *id);
    for id in ids.clone().chain(["sound"]) {
        system.run(["create", "--name", id, "busybox", "true"]).ok();
    }
    system.run(["system", "stop"]).ok();
    for (id, damage) in &damages {
        damage(&system.bundle(id).join("config.json"));
    }
    system.run(["system", "start"]).ok();
    for id in ids.clone() {
        let status = &system.inspect(id)["status"];
        assert_eq!(status["state"], "unknown", "{id}");
        let reason = status["reason"].as_str().unwrap();
        assert!(reason.contains("config.json"), "{status}");
        system.run(["start", id]).code(1).says("cannot be read");
    }
    assert_eq!(system.run(["start", "-a", "sound"]).ok().code, 0);
    system.run(["prune"]).ok();
    for id in ids {
        assert!(system.bundle(id).exists(), "{id}");
        system.run(["delete", "--force", id]).ok();
        assert!(!system.bundle(id).exists(), "{id}");
    }
}

fn make_fifo(path: &Path) {
    let _ = std::fs::remove_file(path);
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap();
}

#[test]
fn a_fifo_in_the_place_of_any_file_is_waited_for_by_nobody() {
    let system = System::start();
    // Those without which a container cannot be started, and those without which it can.
    let needed = [
        "config.json",
        "options.json",
        "boot.json",
        "upper.ext4",
        "runtime.log",
        "runtime.lock",
    ];
    let others = ["exit.json", "timeline.json", "boot.log", "upper.partial"];
    let id = |file: &str| file.replace('.', "-");
    for file in needed.iter().chain(&others) {
        let words = [
            "create",
            "--name",
            &id(file),
            "-m",
            "256M",
            "-c",
            "1",
            "busybox",
            "true",
        ];
        system.run(words).ok();
    }
    system
        .run(["create", "--name", "logged", "busybox", "true"])
        .ok();
    system.run(["system", "stop"]).ok();
    for file in needed.iter().chain(&others) {
        make_fifo(&system.bundle(&id(file)).join(file));
    }
    make_fifo(&system.bundle("logged").join("stdio.log"));
    let config = system.app().join("config/config.toml");
    make_fifo(&config);
    let begun = Instant::now();
    let start = system.run(["system", "start"]).ok();
    assert!(begun.elapsed() < UNDELAYED, "{start:?}");
    assert_eq!(system.list().len(), needed.len() + others.len() + 1);
    for file in needed {
        let begun = Instant::now();
        let outcome = system.run(["start", "-a", &id(file)]).code(1);
        assert!(begun.elapsed() < UNDELAYED, "{file}: {outcome:?}");
    }
    for file in others {
        system.run(["start", "-a", &id(file)]).ok();
    }
    system
        .run(["logs", "logged"])
        .code(1)
        .says("a FIFO is in the place of the file");
    system.run(["delete", "--all", "--force"]).ok();
    assert!(system.list().is_empty());
}

#[test]
fn core_images_comes_back() {
    let system = System::start();
    kill(system.pids("container-core-images")[0], Signal::KILL);
    system.run(["run", "--rm", "busybox", "true"]).ok();
}
