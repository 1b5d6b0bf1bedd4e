//! Many at once, again and again: none fails, and nothing stays.

use crate::system::{System, within};
use std::time::{Duration, Instant};

/// How long what a round has used may take to be given back.
const PATIENCE: Duration = Duration::from_secs(20);
/// KiB that a process may grow after its first round, by fragments of its heap.
const FRAGMENTS: u64 = 2 << 10;

#[test]
fn a_few_at_once_leave_nothing() {
    rounds(3, 12, 4);
}

/// The full number of rounds; takes minutes.
#[test]
#[ignore = "long: `cargo test -p container-tests many_at_once -- --ignored --nocapture`"]
fn many_at_once_leave_nothing() {
    rounds(5, 50, 20);
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    children: usize,
    resident_kib: u64,
}

impl Held {
    fn by(pid: u32) -> Self {
        let count = |directory: &str| {
            std::fs::read_dir(format!("/proc/{pid}/{directory}"))
                .unwrap()
                .count()
        };
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let status = read("status");
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        Self {
            descriptors: count("fd"),
            threads: count("task"),
            children: read(&format!("task/{pid}/children"))
                .split_whitespace()
                .count(),
            resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
        }
    }

    fn is_within(self, before: Self) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.children <= before.children
            && self.resident_kib <= before.resident_kib + FRAGMENTS
    }
}

/// `execs` commands in one container at a time and `runs` containers at a time, `rounds` times.
fn rounds(rounds: usize, execs: usize, runs: usize) {
    let system = System::start();
    system.sleeper("busy");
    // Behind the first start a template is made: the machines of the rounds come from it.
    within(PATIENCE, "there is a template", || {
        !system
            .run(["system", "template", "list", "-q"])
            .stdout
            .is_empty()
    });
    let pids = [
        system.pids("container-apiserver")[0],
        system.helper("busy").unwrap(),
    ];
    let mut before: Option<[Held; 2]> = None;
    for round in 0..rounds {
        let begun = Instant::now();
        at_once(execs, |number| {
            let text = format!("{round}-{number}");
            let said = system.run(["exec", "busy", "echo", &text]).ok().stdout;
            assert_eq!(said, format!("{text}\n"));
        });
        let executed = begun.elapsed();
        let begun = Instant::now();
        at_once(runs, |number| {
            let code = i32::try_from(number).unwrap() + 3;
            let script = format!("exit {code}");
            let run = [
                "run", "--rm", "--pull", "never", "-m", "256M", "-c", "1", "busybox", "sh", "-c",
            ];
            system.run(run.into_iter().chain([&*script])).code(code);
        });
        let ran = begun.elapsed();
        let held = || pids.map(Held::by);
        let settled = |limits: [Held; 2]| {
            held()
                .into_iter()
                .zip(limits)
                .all(|(held, limit)| held.is_within(limit))
        };
        match before {
            None => {
                // Machines of the first round are on their way out.
                within(PATIENCE, "only one container is left", || {
                    system.helpers().len() == 1 && bundles(&system) == 1
                });
                before = Some(held());
            }
            Some(limits) => {
                let what = format!("no more held than {limits:?}, but {:?}", held());
                within(PATIENCE, &what, || settled(limits));
            }
        }
        println!(
            "round {round}: {execs} execs {executed:?}, {runs} runs {ran:?}, held {:?}",
            held()
        );
    }
    assert_eq!(system.list().len(), 1);
    // A container's name is free before its disk is.
    within(PATIENCE, "only one bundle is left", || {
        bundles(&system) == 1
    });
    system.run(["delete", "--force", "busy"]).ok();
}

/// Directories of containers, those on their way out too.
fn bundles(system: &System) -> usize {
    std::fs::read_dir(system.app().join("containers"))
        .unwrap()
        .count()
}

fn at_once(count: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for number in 0..count {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
}
