//! The apiserver may die: containers do not.

use rustix::process::Signal;

use crate::system::{System, eventually, kill};

#[test]
fn containers_outlive_the_apiserver_and_are_taken_over() {
    let system = System::start();
    for id in ["one", "two", "three"] {
        system.sleeper(id);
    }
    let script = "echo before; until test -e /go; do sleep 0.1; done; echo after; sleep 3000";
    let attached = system.spawn([
        "run", "--name", "waits", "-m", "256M", "-c", "1", "busybox", "sh", "-c", script,
    ]);
    eventually("the attached one runs", || {
        system.list().len() == 4 && system.state("waits") == "running"
    });
    let followed = system.spawn(["logs", "-f", "waits"]);
    eventually("it is followed", || followed.has_output());
    let apiserver = system.pids("container-apiserver")[0];
    kill(apiserver, Signal::KILL);
    system.run(["list"]).code(1).says("container system start");
    system.run(["system", "status"]).code(1);

    system.run(["system", "start"]).ok();
    assert_ne!(system.pids("container-apiserver")[0], apiserver);
    for id in ["one", "two", "three", "waits"] {
        assert_eq!(system.state(id), "running", "{id}");
        assert_eq!(
            system.run(["exec", id, "echo", id]).ok().stdout,
            format!("{id}\n")
        );
    }
    system.run(["exec", "waits", "touch", "/go"]).ok();
    eventually("it goes on", || {
        system.run(["logs", "waits"]).stdout.ends_with("after\n")
    });
    system
        .run(["stop", "-t", "0", "one", "two", "three", "waits"])
        .ok();
    for id in ["one", "two", "three", "waits"] {
        assert_eq!(system.state(id), "stopped", "{id}");
    }
    // Its clients waited for the next apiserver.
    assert_eq!(followed.outcome().ok().stdout, "before\nafter\n");
    assert_eq!(attached.outcome().code, 137);
}

#[test]
fn a_silent_helper_is_taken_over_when_it_answers() {
    let system = System::start();
    system.sleeper("silent");
    system.sleeper("ended");
    let [silent, ended] = ["silent", "ended"].map(|id| system.helper(id).unwrap());
    let apiserver = system.pids("container-apiserver")[0];
    kill(apiserver, Signal::KILL);
    for helper in [silent, ended] {
        // One that is stopped when its parent ends gets a SIGHUP (setpgid(2)).
        eventually("it is orphaned", || {
            let status = std::fs::read_to_string(format!("/proc/{helper}/status")).unwrap();
            !status.contains(&format!("PPid:\t{apiserver}\n"))
        });
        kill(helper, Signal::STOP);
    }
    system.run(["system", "start"]).ok();
    assert_eq!(system.state("silent"), "unknown");
    system.run(["stop", "-t", "0", "ended"]).ok();
    assert_eq!(system.state("ended"), "stopped");
    kill(silent, Signal::CONT);
    eventually("it goes on", || system.state("silent") == "running");
    assert_eq!(system.helper("silent"), Some(silent));
    system.run(["exec", "silent", "true"]).ok();
    system.run(["stop", "-t", "0", "silent"]).ok();
}

#[test]
fn an_end_that_nobody_saw_is_told_by_the_next_apiserver() {
    let system = System::start();
    system
        .run([
            "run",
            "-d",
            "--name",
            "ends",
            "busybox",
            "sh",
            "-c",
            "sleep 2; exit 6",
        ])
        .ok();
    system
        .run([
            "run", "-d", "--rm", "--name", "vanishes", "busybox", "sleep", "2",
        ])
        .ok();
    kill(system.pids("container-apiserver")[0], Signal::KILL);
    eventually("both helpers have ended", || system.helpers().is_empty());
    system.run(["system", "start"]).ok();
    assert_eq!(system.inspect("ends")["status"]["exitCode"], 6);
    assert_eq!(system.list().len(), 1);
}
