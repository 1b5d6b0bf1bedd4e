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
    let start = |id: &str| {
        let script = "cat /proc/sys/kernel/random/uuid; date +%s; hostname";
        let output = run(&system, id, &[], &["sh", "-c", script]);
        output.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let cold = start("cold");
    assert!(!restored(&system, "cold"));
    wait_for_template(&system);
    let (one, two) = (start("one"), start("two"));
    assert!(restored(&system, "one") && restored(&system, "two"));
    // Fresh entropy before the first process, the right time, an identity of its own.
    assert!(cold[0] != one[0] && one[0] != two[0]);
    expect_now(&two[1]);
    assert_eq!((one[2].as_str(), two[2].as_str()), ("one", "two"));
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

/// Runs a container of one shape to its end; gives what it printed.
fn run(system: &System, id: &str, flags: &[&str], process: &[&str]) -> String {
    let mut arguments = vec!["run", "--name", id, "-c", "1", "-m", "256M"];
    arguments.extend(flags.iter().chain(&["busybox"]).chain(process));
    system.run(arguments).ok().stdout
}

fn templates(system: &System) -> String {
    system.run(["system", "template", "list", "-q"]).ok().stdout
}

/// Key of the only template, once it has been made.
fn wait_for_template(system: &System) -> String {
    eventually("a template was made", || {
        templates(system).lines().count() == 1
    });
    templates(system).trim().to_owned()
}
