//! Space that comes back.

use std::fs;
use std::time::Duration;

use super::{allocated, check, disk};
use crate::system::{SMALL, System, within};

#[test]
fn space_that_is_freed_comes_back() {
    let system = System::start();
    let fill = "dd if=/dev/urandom of=/big bs=1M count=96 2>/dev/null; dd if=/dev/urandom of=/m/big bs=1M count=96 2>/dev/null; sync; echo ready; sleep 100000";
    let run = ["run", "-d", "--name", "box"];
    let words = [
        "-v",
        "v:/m",
        "--journal",
        "writeback:8M",
        "--storage-size",
        "2G",
        "busybox",
        "sh",
        "-c",
        fill,
    ];
    system.run(run.iter().chain(&SMALL).chain(&words)).ok();
    within(Duration::from_secs(60), "the files are written", || {
        system.run(["logs", "box"]).ok().stdout.contains("ready")
    });
    let upper = system.bundle("box").join("upper.ext4");
    let volume = disk(&system, "v");
    assert_eq!(fs::metadata(&upper).unwrap().len(), 2 << 30);
    assert!(allocated(&upper) > 90 << 20 && allocated(&volume) > 90 << 20);
    // At once, when it is asked for.
    system.run(["exec", "box", "rm", "/m/big"]).ok();
    let before = allocated(&volume);
    let cleaned = system.run(["clean", "--format", "json", "box", "box"]).ok();
    let cleaned: serde_json::Value = serde_json::from_str(&cleaned.stdout).unwrap();
    assert_eq!(cleaned.as_array().map(Vec::len), Some(1));
    // What came back, and not what the guest calls free: of a disk of 2 GiB that is nearly all.
    let told = cleaned[0]["reclaimedInBytes"].as_u64().unwrap();
    assert!(
        (40 << 20..=before + (8 << 20)).contains(&told),
        "{told} of {before}"
    );
    let quiet = system.run(["clean", "-q"]).ok();
    assert_eq!((&*quiet.stdout, &*quiet.stderr), ("box\n", ""));
    // People are told on standard error; of nothing, only why.
    let told = system.run(["clean", "box"]).ok().says("Reclaimed ");
    assert_eq!(told.stdout, "box\n");
    let failed = system.run(["clean", "none"]).code(1);
    assert!(!failed.stderr.contains("Reclaimed"), "{}", failed.stderr);
    assert!(allocated(&volume) < 12 << 20, "{}", allocated(&volume));
    // By itself.
    system.run(["exec", "box", "rm", "/big"]).ok();
    within(Duration::from_secs(60), "the space has come back", || {
        allocated(&upper) < 16 << 20
    });
    let shown = system
        .run([
            "exec",
            "box",
            "sh",
            "-c",
            "grep -c ' / overlay' /proc/mounts",
        ])
        .ok();
    assert_eq!(shown.stdout, "1\n");
    system.run(["stop", "box"]).ok();
    check(&upper, system.scratch());
}

#[test]
fn what_is_deleted_just_before_the_end_comes_back_too() {
    let system = System::start();
    let run = |flags: &[&str], script: &str| {
        let words = ["run"]
            .into_iter()
            .chain(SMALL)
            .chain(flags.iter().copied());
        system
            .run(words.chain(["busybox", "sh", "-c", script]))
            .ok();
    };
    let script = "dd if=/dev/urandom of=/v/x bs=1M count=96 2>/dev/null; sync; rm /v/x";
    run(&["--rm", "-v", "v:/v"], script);
    run(
        &["--name", "root"],
        "mkdir /v; dd if=/dev/urandom of=/v/x bs=1M count=96 2>/dev/null; sync; rm /v/x",
    );
    let upper = system.bundle("root").join("upper.ext4");
    for disk in [disk(&system, "v"), upper] {
        within(Duration::from_secs(30), "the space has come back", || {
            allocated(&disk) < 16 << 20
        });
    }
    check(&disk(&system, "v"), system.scratch());
}
