//! What a start and its end are told of, phase by phase.

use crate::system::{System, eventually};

/// Phases that the host tells by one clock, in their order.
const ON_THE_HOST: [&str; 10] = [
    "start requested",
    "helper started",
    "upper ready",
    "engine ready",
    "VMM spawned",
    "VMM running",
    "guest announced itself",
    "start answered",
    "process exited",
    "machine gone",
];

/// Those between them that the guest's clock tells, or the client's reading.
const OTHERS: [&str; 5] = [
    "kernel entered",
    "PID 1",
    "root mounted",
    "process started",
    "first byte",
];

#[test]
fn every_phase_of_a_cold_run_has_its_moment() {
    let system = System::shared();
    let told = system
        .run([
            "run",
            "--debug",
            "--no-template",
            "--name",
            "phases",
            "busybox",
            "echo",
            "hello",
        ])
        .ok();
    assert!(told.stderr.contains("process started"), "{}", told.stderr);
    assert!(told.stderr.contains("end received"), "{}", told.stderr);
    let timeline = system.bundle("phases").join("timeline.json");
    let read = || std::fs::read_to_string(&timeline).unwrap();
    eventually("the machine is gone", || read().contains("machine gone"));
    let timeline: serde_json::Value = serde_json::from_str(&read()).unwrap();
    let phases = timeline["phases"].as_array().unwrap();
    let at = |name: &str| {
        let phase = phases.iter().find(|phase| phase["name"] == name);
        phase.unwrap_or_else(|| panic!("no {name:?} in {timeline}"))["atUs"]
            .as_i64()
            .unwrap()
    };
    let moments = ON_THE_HOST.map(at);
    assert!(moments.is_sorted(), "{timeline}");
    let (first, last) = (moments[0], moments[ON_THE_HOST.len() - 1]);
    assert!(first < last, "{timeline}");
    // The guest's moments are carried over to the host's clock, to some milliseconds.
    for moment in OTHERS.map(at) {
        assert!((first - 50_000..=last).contains(&moment), "{timeline}");
    }
    system.run(["delete", "phases"]).ok();
}
