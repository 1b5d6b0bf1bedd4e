//! State that an earlier release has left is opened by this one, or refused with a message; it is never damaged. What runs goes on while
//! one release takes the place of another.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::system::{Outcome, System, eventually, kill};

/// App roots, each as the release in its name has left it. `@APP@` in JSON files is the app root. A release adds one, made by
/// hand: two containers, a network, a volume, an image of one file, and what the configuration says.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// Has `app` be the app root of the fixture `name`.
fn unpack(system: &System, name: &str) {
    let app = system.app();
    std::fs::create_dir_all(&app).unwrap();
    let script = "tar -C \"$1\" -xJf \"$2\" && find \"$1\" -name '*.json' -exec sed -i \"s|@APP@|$1|g\" {} +";
    let unpacked = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&app)
        .arg(format!("{FIXTURES}/{name}"))
        .output()
        .unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
}

#[test]
fn state_of_each_release_is_opened() {
    let mut releases = 0;
    for fixture in std::fs::read_dir(FIXTURES).unwrap() {
        let fixture = fixture.unwrap().file_name().into_string().unwrap();
        releases += 1;
        let system = System::stopped();
        unpack(&system, &fixture);
        system
            .run(["system", "start", "--enable-kernel-install"])
            .ok();
        let states: Vec<(String, String)> = system
            .list()
            .iter()
            .map(|one| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (text(&one["id"]), text(&one["status"]["state"]))
            })
            .collect();
        let stopped = |id: &str| (id.to_owned(), "stopped".to_owned());
        assert_eq!(
            states,
            [stopped("old-one"), stopped("old-two")],
            "{fixture}"
        );
        let one = system.inspect("old-one");
        let configuration = &one["configuration"];
        assert_eq!(configuration["labels"]["kept"], "yes", "{one}");
        assert_eq!(
            configuration["publishedPorts"][0]["hostPort"], 18080,
            "{one}"
        );
        let environment = configuration["initProcess"]["environment"].to_string();
        assert!(environment.contains("A=b"), "{one}");
        assert_eq!(system.inspect("old-two")["configuration"]["readOnly"], true);
        for (words, name) in [
            (["image", "list"], "old"),
            (["volume", "list"], "old-data"),
            (["network", "list"], "old-net"),
        ] {
            let listed = system.run(words).ok().stdout;
            assert!(listed.contains(name), "{fixture}: {listed}");
        }
        // What it holds can be used and taken away.
        system.run(["image", "tag", "old:1", "old:2"]).ok();
        system
            .run(["create", "--name", "new", "old:1", "/bin/z"])
            .ok();
        system.run(["delete", "new", "old-one", "old-two"]).ok();
        system.run(["volume", "delete", "old-data"]).ok();
        system.run(["network", "delete", "old-net"]).ok();
    }
    assert!(releases > 0);
}

/// A program of the release that comes next, as far as its protocol goes: `make next` builds it.
fn next(name: &str) -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/next");
    let path = PathBuf::from(built).join(name);
    assert!(path.exists(), "{}: run `make next`", path.display());
    path
}

/// Ends the apiserver as an upgrade does: containers go on.
fn end_apiserver(system: &System) {
    kill(system.pids("container-apiserver")[0], Signal::TERM);
    eventually("the apiserver has ended", || {
        system.pids("container-apiserver").is_empty()
    });
}

#[test]
fn a_container_goes_on_while_the_next_release_takes_over() {
    let system = System::stopped().with_own_prefix();
    system.set_up();
    system
        .run([
            "run",
            "-d",
            "--name",
            "kept",
            "-m",
            "256M",
            "-p",
            "127.0.0.1:0:80",
            "busybox",
            "sh",
            "-c",
            "echo begun; exec sleep 100000",
        ])
        .ok();
    let helper = system.helper("kept").unwrap();
    let network = system.pids("container-network-bridge start");

    // The command is new, and the service is not yet.
    let new_command = |words: &[&str]| {
        let mut command = Command::new(next("container"));
        system.environment(command.args(words));
        command.env("CONTAINER_INSTALL_ROOT", system.prefix());
        Outcome::from(command.output().unwrap())
    };
    let refused = new_command(&["list"]).code(1);
    assert_eq!(
        refused.stderr,
        "Error: the container system service is another version: it speaks protocol 1, and this command 2\n\
         Run `container system stop` and `container system start`.\n"
    );
    new_command(&["system", "status"]).ok();

    // The next release takes over helper and network of this one.
    end_apiserver(&system);
    std::fs::copy(
        next("container-apiserver"),
        system.prefix().join("bin/container-apiserver"),
    )
    .unwrap();
    system.run(["system", "start"]).ok();
    for run in [&new_command as &dyn Fn(&[&str]) -> Outcome, &|words| {
        system.run(words)
    }] {
        assert_eq!(
            run(&["exec", "kept", "echo", "alive"]).ok().stdout,
            "alive\n"
        );
        assert_eq!(run(&["logs", "kept"]).ok().stdout, "begun\n");
    }
    system.run(["stats", "--no-stream", "kept"]).ok();
    system.run(["pause", "kept"]).ok();
    system.run(["unpause", "kept"]).ok();
    assert_eq!(system.helper("kept"), Some(helper));
    assert_eq!(system.pids("container-network-bridge start"), network);
    system
        .run(["run", "--rm", "-m", "256M", "busybox", "true"])
        .ok();
    system.run(["stop", "kept"]).ok();
    system.run(["start", "kept"]).ok();
    // And this release can be gone back to.
    end_apiserver(&system);
    std::fs::copy(program(), system.prefix().join("bin/container-apiserver")).unwrap();
    system.run(["system", "start"]).ok();
    system.run(["exec", "kept", "true"]).ok();
    new_command(&["system", "stop"]).ok();
    assert!(system.processes().is_empty());
}

/// This release's apiserver.
fn program() -> PathBuf {
    let prefix = std::env::var_os("CONTAINER_TEST_PREFIX").unwrap();
    PathBuf::from(prefix).join("bin/container-apiserver")
}
