//! Starts from a saved machine.

use crate::system::{System, eventually};

/// Whether the last start of `id` came from a template, by its timeline.
fn restored(system: &System, id: &str) -> bool {
    let timeline = std::fs::read_to_string(system.bundle(id).join("timeline.json")).unwrap();
    timeline.contains("machine restored")
}

#[test]
fn the_second_start_of_a_shape_comes_from_a_template_and_is_its_own_machine() {
    let system = System::start();
    let start = |id: &str| {
        let script = "cat /proc/sys/kernel/random/uuid; date +%s; hostname";
        system
            .run([
                "run", "--name", id, "-c", "1", "-m", "256M", "busybox", "sh", "-c", script,
            ])
            .ok()
            .stdout
    };
    let cold = start("cold");
    assert!(!restored(&system, "cold"));
    let templates = || system.run(["system", "template", "list", "-q"]).ok().stdout;
    eventually("a template was made", || templates().lines().count() == 1);
    let (one, two) = (start("one"), start("two"));
    assert!(restored(&system, "one") && restored(&system, "two"));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (cold, one, two) = (lines(&cold), lines(&one), lines(&two));
    // Fresh entropy before the first process, the right time, an identity of its own.
    assert!(cold[0] != one[0] && one[0] != two[0]);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let guest: u64 = two[1].parse().unwrap();
    assert!(now.abs_diff(guest) < 60, "guest {guest}, host {now}");
    assert_eq!((one[2].as_str(), two[2].as_str()), ("one", "two"));

    // A damaged template is never used, and the container starts all the same.
    let key = templates().trim().to_owned();
    let memory = system
        .app()
        .join("cache/templates")
        .join(&key)
        .join("memory");
    let mut bytes = std::fs::read(&memory).unwrap();
    let data = bytes.iter().position(|byte| *byte != 0).unwrap();
    bytes[data] ^= 1;
    std::fs::write(&memory, bytes).unwrap();
    start("damaged");
    assert!(!restored(&system, "damaged"));

    let cold = system.run([
        "run",
        "--no-template",
        "--name",
        "asked",
        "-c",
        "1",
        "-m",
        "256M",
        "busybox",
        "true",
    ]);
    cold.ok();
    assert!(!restored(&system, "asked"));
    system.run(["system", "template", "prune"]).ok();
    assert_eq!(templates(), "");
}
