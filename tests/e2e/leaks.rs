//! Containers come and go, and nothing of them stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::system::{System, within};
use crate::templates::wait_for_template;

/// How long the last files may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn containers_leave_no_file_descriptor_or_process() {
    come_and_go(30, 20);
}

/// The full number of rounds; takes minutes.
#[test]
#[ignore = "long: `cargo test -p container-tests many_containers_leave -- --ignored`"]
fn many_containers_leave_no_file_descriptor_or_process() {
    come_and_go(300, 200);
}

/// Everything that a system has.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    files: Vec<PathBuf>,
    /// Descriptors of each process, by its program.
    descriptors: BTreeMap<String, usize>,
}

impl Left {
    /// What `system` has now.
    pub fn by(system: &System) -> Self {
        let mut files = Vec::new();
        for directory in ["containers", "layers", "views", "content", "leases"] {
            collect(&system.app().join(directory), &mut files);
        }
        files.sort();
        let descriptors = system.processes().into_iter().map(|(pid, line)| {
            let program = line.split(' ').next().unwrap_or_default().to_owned();
            let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
            (program, open.map_or(0, Iterator::count))
        });
        Self {
            files,
            descriptors: descriptors.collect(),
        }
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, files);
        }
        files.push(path);
    }
}

fn come_and_go(runs: usize, creates: usize) {
    let system = System::start();
    let run = || {
        system
            .run(["run", "--rm", "-m", "256M", "-c", "1", "busybox", "true"])
            .ok()
    };
    run();
    wait_for_template(&system);
    run();
    within(PATIENCE, "the first ones are gone", || {
        std::fs::read_dir(system.app().join("containers"))
            .unwrap()
            .count()
            == 0
    });
    let before = Left::by(&system);
    for _ in 0..runs {
        run();
    }
    for number in 0..creates {
        let name = format!("created-{number}");
        system
            .run(["create", "--name", &name, "busybox", "true"])
            .ok();
    }
    system.run(["delete", "--all"]).ok();
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && Left::by(&system) != before {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(Left::by(&system), before);
}
