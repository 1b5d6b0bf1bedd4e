//! Peers that give a container a machine of its own, too, from wheels of the Python index: scripts/peers.sh fetches them. Each runs
//! the same image archive, without a network, in turns with ours. One that cannot be run here is told of with its own words.

mod boxlite;
mod commands;
mod memory;
mod microsandbox;
mod smolmachines;

use std::path::Path;
use std::thread;

use anyhow::Context;

use crate::report::Report;
use crate::samples::Samples;
use crate::system::System;
use memory::Cost;

/// Starts at a time in the measurement of starts that wait for each other.
const AT_ONCE: usize = 3;
/// Idle machines of each, one after the other.
const IDLE: usize = 3;
/// Memory of each machine, which has one vCPU.
const MEMORY: &str = "256M";

/// Somebody who runs a container in a machine.
trait Peer: Sync {
    /// Its name and version.
    fn name(&self) -> &'static str;
    /// Milliseconds from the request to the end of `true`, machine and all.
    fn start(&self) -> anyhow::Result<f64>;
    /// Milliseconds of each of `number` starts at once.
    fn start_many(&self, number: usize) -> Vec<anyhow::Result<f64>> {
        let taken: Vec<_> = thread::scope(|scope| {
            let starts: Vec<_> = (0..number).map(|_| scope.spawn(|| self.start())).collect();
            starts
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .collect()
        });
        let died = || Err(anyhow::anyhow!("a thread died"));
        taken
            .into_iter()
            .map(|taken| taken.unwrap_or_else(|_| died()))
            .collect()
    }
    /// Has a machine stand idle under `name`.
    fn stand(&self, name: &str) -> anyhow::Result<()>;
    /// Milliseconds of `true` in the machine `name`.
    fn exec(&self, name: &str) -> anyhow::Result<f64>;
    /// Removes the machine `name`.
    fn remove(&self, name: &str) -> anyhow::Result<()>;
}

/// Ours, started from a template.
struct Ours<'s>(&'s System);

impl Peer for Ours<'_> {
    fn name(&self) -> &'static str {
        "container"
    }

    fn start(&self) -> anyhow::Result<f64> {
        self.0.time(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-c",
            "1",
            "-m",
            MEMORY,
            "busybox",
            "true",
        ])
    }

    fn stand(&self, name: &str) -> anyhow::Result<()> {
        let run = [
            "run",
            "-d",
            "--network",
            "none",
            "-c",
            "1",
            "-m",
            MEMORY,
            "--name",
            name,
            "busybox",
            "sleep",
            "100000",
        ];
        self.0.run(&run).map(drop)
    }

    fn exec(&self, name: &str) -> anyhow::Result<f64> {
        self.0.time(&["exec", name, "true"])
    }

    fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.0.run(&["delete", "--force", name]).map(drop)
    }
}

/// Measures ours beside the peers that lie in `wheels` and can be run.
pub fn measure(
    system: &System,
    wheels: &Path,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new().prefix("peers").tempdir()?;
    let ours = Ours(system);
    // The first start unpacks the image; the second asks for a template, which is made meanwhile.
    ours.start()?;
    ours.start()?;
    system.wait_for_templates(1)?;
    let mut all: Vec<Box<dyn Peer + '_>> = vec![Box::new(ours)];
    let archive = system.archive();
    let made = [
        (
            microsandbox::NAME,
            microsandbox::load(wheels, scratch.path(), archive),
        ),
        (
            smolmachines::NAME,
            smolmachines::load(wheels, scratch.path(), archive),
        ),
        (
            boxlite::NAME,
            boxlite::load(wheels, scratch.path(), archive),
        ),
    ];
    for (name, peer) in made {
        // What it needs for the first time is not a start's.
        match peer.and_then(|peer| peer.start().context("its first start").map(|_| peer)) {
            Ok(peer) => all.push(peer),
            Err(error) => report.left_out(name, &error),
        }
    }
    starts(&all, rounds, report);
    at_once(&all, rounds.div_ceil(AT_ONCE), report);
    standing(&all, rounds, report);
    Ok(())
}

fn starts(all: &[Box<dyn Peer + '_>], rounds: usize, report: &mut Report) {
    let mut samples = vec![Samples::default(); all.len()];
    for _ in 0..rounds {
        for (peer, samples) in all.iter().zip(&mut samples) {
            report.attempt(peer.name(), peer.start(), samples);
        }
    }
    tell(all, "run busybox true", "ms", &samples, report);
}

fn at_once(all: &[Box<dyn Peer + '_>], rounds: usize, report: &mut Report) {
    let mut samples = vec![Samples::default(); all.len()];
    for _ in 0..rounds {
        for (peer, samples) in all.iter().zip(&mut samples) {
            for taken in peer.start_many(AT_ONCE) {
                report.attempt(peer.name(), taken, samples);
            }
        }
    }
    let what = format!("run busybox true, {AT_ONCE} at once");
    tell(all, &what, "ms", &samples, report);
}

/// Idle machines: what they cost, and how long a further process takes in one.
fn standing(all: &[Box<dyn Peer + '_>], rounds: usize, report: &mut Report) {
    let mut costs = vec![Samples::default(); all.len()];
    let mut execs = vec![Samples::default(); all.len()];
    for round in 0..IDLE {
        for (peer, costs) in all.iter().zip(&mut costs) {
            let cost = Cost::of(|| peer.stand(&format!("idle-{round}")));
            report.attempt(peer.name(), cost, costs);
        }
    }
    for _ in 0..rounds {
        for (peer, samples) in all.iter().zip(&mut execs) {
            report.attempt(peer.name(), peer.exec("idle-0"), samples);
        }
    }
    for peer in all {
        for round in 0..IDLE {
            report.keep(peer.name(), peer.remove(&format!("idle-{round}")));
        }
    }
    tell(all, "exec true", "ms", &execs, report);
    tell(
        all,
        "idle machine: PSS of its processes",
        "MiB",
        &costs,
        report,
    );
}

/// The figures, and ours by each of the others, round by round.
fn tell(
    all: &[Box<dyn Peer + '_>],
    what: &str,
    unit: &'static str,
    samples: &[Samples],
    report: &mut Report,
) {
    for (peer, samples) in all.iter().zip(samples) {
        report.figure(&format!("{what}, {}", peer.name()), unit, samples);
    }
    for (peer, theirs) in all.iter().zip(samples).skip(1) {
        let name = format!("{what}, ours / {}", peer.name());
        report.ratio(&name, &samples[0].ratio(theirs), None);
    }
}
