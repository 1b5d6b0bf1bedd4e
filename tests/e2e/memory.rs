//! What a machine holds of the host's memory.

use std::time::Duration;

use crate::system::{System, eventually, within};

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
