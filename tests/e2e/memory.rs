//! What a machine holds of the host's memory.

use std::time::Duration;

use crate::system::{System, eventually, within};
use crate::templates::wait_for_template;

const MIB: u64 = 1 << 20;

/// Proportional set of the container's machine, in bytes.
fn held(system: &System, id: &str) -> u64 {
    system.sample(id)["hostMemoryBytes"].as_u64().unwrap()
}

#[test]
fn files_that_were_read_once_go_back_to_the_host() {
    let system = System::shared();
    let script =
        "dd if=/dev/zero of=/big bs=1M count=150 2>/dev/null; sync; echo written; sleep 100000";
    system
        .run([
            "run", "-d", "--name", "cache", "-c", "1", "-m", "512M", "busybox", "sh", "-c", script,
        ])
        .ok();
    eventually("the file is written", || {
        system.run(["logs", "cache"]).ok().stdout == "written\n"
    });
    let peak = held(&system, "cache");
    within(Duration::from_secs(90), "the cache has shrunk", || {
        held(&system, "cache") + 48 * MIB < peak
    });
    // What was given up is still there to be read.
    system
        .run([
            "exec",
            "cache",
            "cmp",
            "-n",
            "157286400",
            "/big",
            "/dev/zero",
        ])
        .ok();
    system.run(["delete", "--force", "cache"]).ok();
}

/// Nine tenths of a peak of 512 MiB within 30 s, from a machine that booted and from one that was restored.
#[test]
fn memory_that_a_process_frees_goes_back_to_the_host() {
    let system = System::start();
    let run = |id: &str| {
        system
            .run([
                "run", "-d", "--name", id, "-c", "1", "-m", "1G", "busybox", "sleep", "100000",
            ])
            .ok();
        let before = held(&system, id);
        // It fills its buffer eight times, and so holds it for a while.
        let fill = "dd if=/dev/zero of=/dev/null bs=512M count=8";
        let filling = system.spawn(["exec", id, "sh", "-c", fill]);
        eventually("the peak is reached", || {
            held(&system, id) > before + 500 * MIB
        });
        filling.outcome().ok();
        within(Duration::from_secs(30), "nine tenths are back", || {
            held(&system, id) < before + 52 * MIB
        });
        system.run(["delete", "--force", id]).ok();
    };
    run("booted");
    wait_for_template(&system);
    run("restored");
}
