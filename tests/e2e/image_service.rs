//! The image service when it does not answer, and what it keeps for containers.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::system::{System, kill, within};

/// How soon a service that is stopped must be told of: five seconds, on a loaded machine.
const TOLD: Duration = Duration::from_secs(15);
/// How soon it must have been replaced.
const REPLACED: Duration = Duration::from_secs(60);

fn service(system: &System) -> u32 {
    system.pids("container-core-images start")[0]
}

fn leases(system: &System) -> Vec<String> {
    let files = std::fs::read_dir(system.app().join("leases")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn a_stopped_image_service_is_told_of_and_replaced_and_delays_nobody() {
    let system = System::start();
    system.sleeper("other");
    let stopped = service(&system);
    kill(stopped, Signal::STOP);
    let begun = Instant::now();
    let asked = [
        system.spawn(["image", "list"]),
        system.spawn(["run", "--rm", "busybox", "true"]),
        system.spawn(["image", "pull", "localhost:1/x"]),
    ];
    // Nobody else waits meanwhile.
    system.run(["exec", "other", "true"]).ok();
    assert_eq!(system.run(["list", "-q"]).ok().stdout, "other\n");
    assert!(begun.elapsed() < TOLD, "{:?}", begun.elapsed());
    for asked in asked {
        let outcome = asked.outcome().code(1);
        let outcome =
            outcome.says("the image service (container-core-images) has not answered for 5 s");
        outcome.says("core-images.log");
    }
    assert!(begun.elapsed() < TOLD, "{:?}", begun.elapsed());
    within(REPLACED, "another service has taken its place", || {
        system
            .pids("container-core-images start")
            .iter()
            .any(|pid| *pid != stopped)
    });
    within(REPLACED, "it answers", || {
        system.run(["image", "list"]).code == 0
    });
    system.run(["run", "--rm", "busybox", "true"]).ok();
    system.run(["delete", "--force", "other"]).ok();
}

#[test]
fn no_lease_outlives_its_container() {
    let system = System::start();
    let soon = Duration::from_secs(10);
    for id in ["aa", "bb", "cc"] {
        system.run(["create", "--name", id, "busybox", "true"]).ok();
    }
    system.run(["run", "--rm", "busybox", "true"]).ok();
    within(soon, "three containers have leases", || {
        leases(&system).len() == 3
    });
    system.run(["rename", "aa", "dd"]).ok();
    system.run(["delete", "bb"]).ok();
    within(soon, "two are left", || {
        let mut left = leases(&system);
        left.sort();
        left == ["cc", "dd"]
    });
    // Killed between the removal of a container and the word of it: the bundle is gone, nobody was told.
    let apiserver = system.pids("container-apiserver start")[0];
    kill(apiserver, Signal::KILL);
    kill(service(&system), Signal::KILL);
    within(soon, "both are dead", || {
        system.pids("container-apiserver start").is_empty()
            && system.pids("container-core-images start").is_empty()
    });
    std::fs::remove_dir_all(system.bundle("cc")).unwrap();
    system.run(["system", "start"]).ok();
    within(soon, "one is left", || leases(&system) == ["dd"]);
    system.run(["delete", "dd"]).ok();
    within(soon, "none is left", || leases(&system).is_empty());
}

#[test]
fn what_is_damaged_is_made_anew_at_the_next_start() {
    let system = System::start();
    system
        .run(["create", "--name", "cc", "busybox", "echo", "intact"])
        .ok();
    for directory in ["layers", "views"] {
        for change in [0, 1] {
            let path = std::fs::read_dir(system.app().join(directory))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| {
                    path.extension()
                        .is_some_and(|extension| extension == "erofs")
                })
                .unwrap();
            let mut content = std::fs::read(&path).unwrap();
            let good = content.clone();
            if change == 0 {
                content.truncate(4096);
            } else {
                let middle = content.len() / 2;
                content[middle] ^= 1;
            }
            std::fs::write(&path, content).unwrap();
            // The same container, started again, and one that is new.
            let outcome = system.run(["start", "-a", "cc"]).ok();
            assert_eq!(outcome.stdout, "intact\n");
            assert!(std::fs::read(&path).unwrap() == good, "{}", path.display());
        }
    }
    system.run(["delete", "cc"]).ok();
    // Neither the index nor its copy: told by every command, and nothing is lost.
    let content = system.app().join("content");
    let index = std::fs::read(content.join("index.json")).unwrap();
    for name in ["index.json", "index.copy.json"] {
        std::fs::write(content.join(name), "{").unwrap();
    }
    for command in [
        &["image", "list"][..],
        &["run", "--rm", "busybox", "true"],
        &["image", "prune"],
    ] {
        let outcome = system.run(command).code(1);
        outcome
            .says("the index of all images is damaged")
            .says("index.copy.json");
    }
    std::fs::write(content.join("index.json"), index).unwrap();
    system.run(["run", "--rm", "busybox", "true"]).ok();
}
