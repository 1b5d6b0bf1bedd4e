//! The process that serves the shares.

use std::fs;

use rustix::process::Signal;

use super::{bind, directory, servers, start, status, told};
use crate::system::{System, eventually, kill};

#[test]
fn a_machine_ends_with_the_process_of_its_shares_and_the_reverse() {
    let system = System::shared();
    let data = directory(&system, "bound");
    let bound = bind(&data, "/data");
    start(&system, "bound", &["-v", &bound]).ok();
    let processes = servers(&system, "bound");
    assert_eq!(processes.len(), 2, "{processes:?}");
    let (outside, inside) = (processes[0], processes[1]);

    // Who takes it over finds the shares, and nothing else of the host.
    let root = fs::read_dir(format!("/proc/{inside}/root")).unwrap();
    let names: Vec<_> = root.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["0"]);
    let mounts = fs::read_to_string(format!("/proc/{inside}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 2, "{mounts}");
    for namespace in ["mnt", "pid", "net", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(of(&inside.to_string()), of("self"), "{namespace}");
    }
    let field = |name: &str| status(inside, name).unwrap();
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID.
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field(set), "00000000000000db", "{set}");
    }
    for (name, value) in [
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "2"),
    ] {
        assert_eq!(field(name), value, "{name}");
    }

    // A host that sleeps, or a debugger, stops it in the middle of a wait, and it goes on.
    for _ in 0..3 {
        kill(inside, Signal::STOP);
        eventually("it stands still", || {
            status(inside, "State").is_some_and(|state| state.starts_with('T'))
        });
        kill(inside, Signal::CONT);
        assert_eq!(
            told(&system, "bound", "echo on > /data/on; cat /data/on"),
            "on\n"
        );
    }

    kill(inside, Signal::KILL);
    eventually("the container has ended", || {
        system.state("bound") == "stopped"
    });
    let shown = system.inspect("bound");
    let text = shown["status"].to_string();
    assert!(
        text.contains("the process that serves the container's bind mounts ended"),
        "{text}"
    );
    eventually("nobody is left", || servers(&system, "bound").is_empty());

    system.run(["start", "bound"]).ok();
    assert!(!servers(&system, "bound").contains(&outside));
    let helper = system.helper("bound").unwrap();
    kill(helper, Signal::KILL);
    eventually("nobody is left", || servers(&system, "bound").is_empty());
    system.run(["delete", "--force", "bound"]).ok();
}
