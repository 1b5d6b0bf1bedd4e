//! Volumes whose apiserver is killed while it makes them, or makes them larger.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::{check, disk};
use crate::system::{System, kill};

/// Milliseconds from a command's beginning to the kill: before, while and after the service is at work.
const MOMENTS: [u64; 8] = [1, 3, 5, 8, 12, 17, 25, 40];

/// Begins the command `words` and kills the apiserver `after` that; the next one is there then.
fn cut_off(system: &System, words: &[&str], after: Duration) {
    let mut command = system.with_deadline(words);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut client = command.stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    for pid in system.pids("container-apiserver") {
        kill(pid, Signal::KILL);
    }
    client.wait().unwrap();
    system.run(["system", "start"]).ok();
}

#[test]
fn a_volume_is_whole_or_not_there_when_its_maker_was_killed() {
    let system = System::start();
    for after in MOMENTS {
        let name = format!("made-{after}");
        let words = [
            "volume",
            "create",
            "-s",
            "600M",
            "--opt",
            "journal=journal:64M",
            &name,
        ];
        cut_off(&system, &words, Duration::from_millis(after));
        let listed = system.run(["volume", "list", "-q"]).ok().stdout;
        let directories = fs::read_dir(system.app().join("volumes")).unwrap();
        let directories: Vec<_> = directories
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(listed.lines().count(), directories.len(), "{directories:?}");
        if listed.lines().any(|line| line == name) {
            check(&disk(&system, &name), system.scratch());
        } else {
            system.run(words).ok();
        }
    }

    let size = |name: &str| {
        let told: Value =
            serde_json::from_str(&system.run(["volume", "inspect", name]).ok().stdout).unwrap();
        told[0]["configuration"]["sizeInBytes"].as_u64().unwrap()
    };
    let name = "made-1";
    for (after, mib) in MOMENTS.into_iter().zip(700..) {
        let wanted = format!("{mib}M");
        let words = ["volume", "resize", name, &wanted];
        cut_off(&system, &words, Duration::from_millis(after));
        let (told, bytes) = (size(name), fs::metadata(disk(&system, name)).unwrap().len());
        // The disk comes first.
        assert!(told <= bytes && bytes <= mib << 20, "{told} {bytes}");
        system.run(words).ok();
        assert_eq!(size(name), mib << 20);
    }
    // One that has become much larger grows beside its container, is closed meanwhile, and goes on in the next one.
    system.run(["volume", "resize", name, "240G"]).ok();
    let bound = format!("{name}:/m");
    let size = "df -m /m | awk 'NR == 2 { print $2 }'";
    let wait = format!("until [ $({size}) -gt 230000 ]; do sleep 0.2; done; echo whole");
    for (script, expected) in [("echo kept >/m/x", ""), (&*wait, "whole\n")] {
        let words = ["run", "--rm", "-m", "600M", "-c", "1", "-v", &bound];
        let process = ["busybox", "sh", "-c", script];
        let ended = system.run(words.iter().chain(&process)).ok();
        assert_eq!(ended.stdout, expected);
        check(&disk(&system, name), system.scratch());
    }
}
