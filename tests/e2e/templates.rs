//! Starts from a saved machine.

use crate::system::{System, eventually, expect_now};

/// Whether the last start of `id` came from a template, by its timeline.
pub fn restored(system: &System, id: &str) -> bool {
    let timeline = std::fs::read_to_string(system.bundle(id).join("timeline.json")).unwrap();
    timeline.contains("machine restored")
}

#[test]
fn the_second_start_of_a_shape_comes_from_a_template_and_is_its_own_machine() {
    let system = System::start();
    let start = |id: &str, flags: &[&str]| {
        let script = "cat /proc/sys/kernel/random/uuid; date +%s; hostname; cat /x/note; [ ! -e /x ] || echo kept > /x/note";
        let output = run(&system, id, flags, &["sh", "-c", script]);
        output.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let cold = start("cold", &[]);
    assert!(!restored(&system, "cold"));
    wait_for_template(&system);
    // Their volume is none of the template's: its disk comes late.
    let volume = ["--volume", "notes:/x"];
    let (one, two) = (start("one", &volume), start("two", &volume));
    assert!(restored(&system, "one") && restored(&system, "two"));
    // Fresh entropy before the first process, the right time, an identity of its own.
    assert!(cold[0] != one[0] && one[0] != two[0]);
    expect_now(&two[1]);
    assert_eq!((one[2].as_str(), two[2].as_str()), ("one", "two"));
    assert_eq!((one.len(), two.last().unwrap().as_str()), (3, "kept"));
    let boot = system.run(["logs", "--boot", "two"]).ok().stdout;
    assert!(boot.starts_with("[started from a template"), "{boot}");
}

#[test]
fn a_damaged_or_unwanted_template_is_not_used() {
    let system = System::start();
    run(&system, "cold", &[], &["true"]);
    let key = wait_for_template(&system);
    let memory = system
        .app()
        .join("cache/templates")
        .join(&key)
        .join("memory");
    let mut bytes = std::fs::read(&memory).unwrap();
    let data = bytes.iter().position(|byte| *byte != 0).unwrap();
    bytes[data] ^= 1;
    std::fs::write(&memory, bytes).unwrap();
    run(&system, "damaged", &[], &["true"]);
    assert!(!restored(&system, "damaged"));

    wait_for_template(&system);
    run(&system, "asked", &["--no-template"], &["true"]);
    assert!(!restored(&system, "asked"));
    system.run(["system", "template", "prune"]).ok();
    assert_eq!(templates(&system), "");
}

/// What was saved is whole, and yet no VMM can go on from it.
#[test]
fn a_template_that_does_not_restore_costs_one_start_and_is_made_anew() {
    let system = System::start();
    run(&system, "cold", &[], &["true"]);
    let directory = system
        .app()
        .join("cache/templates")
        .join(wait_for_template(&system));
    let state = directory.join("state");
    let length = std::fs::metadata(&state).unwrap().len();
    let (empty, description) = (
        std::fs::File::create(&state).unwrap(),
        directory.join("template.json"),
    );
    empty.set_len(length).unwrap();
    let text = std::fs::read(&description).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    // Pages of zeroes don't count: the checksum of nothing.
    json["state"]["sha256"] =
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into();
    std::fs::write(&description, json.to_string()).unwrap();

    run(&system, "hopeless", &[], &["true"]);
    assert!(!restored(&system, "hopeless"));
    // The machine that is to wait for the next container may have met it first.
    let log = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let told = log(system.bundle("hopeless").join("runtime.log"))
        + &log(system.app().join("log/standby.log"));
    assert!(told.contains("the template does not restore"), "{told}");
    eventually("another template was made", || {
        std::fs::read(&description).is_ok_and(|text| text != json.to_string().as_bytes())
    });
    run(&system, "again", &[], &["true"]);
    assert!(restored(&system, "again"));
}

/// Runs a container of one shape to its end; gives what it printed.
fn run(system: &System, id: &str, flags: &[&str], process: &[&str]) -> String {
    let mut arguments = vec!["run", "--name", id, "-c", "1", "-m", "256M"];
    arguments.extend(flags.iter().chain(&["busybox"]).chain(process));
    system.run(arguments).ok().stdout
}

/// Keys of the templates, a line each.
pub fn templates(system: &System) -> String {
    system.run(["system", "template", "list", "-q"]).ok().stdout
}

/// Key of the only template, once it has been made.
pub fn wait_for_template(system: &System) -> String {
    eventually("a template was made", || {
        templates(system).lines().count() == 1
    });
    templates(system).trim().to_owned()
}
