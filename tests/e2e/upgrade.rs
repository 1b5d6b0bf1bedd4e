//! State that an earlier release has left is opened by this one, or refused with a message; it is never damaged.

use std::process::Command;

use serde_json::Value;

use crate::system::System;

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
