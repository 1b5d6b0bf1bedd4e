//! Measures the staged programs against peers. Every comparison is paired: the two commands take turns in one
//! run, so that a machine that drifts changes both. Raw samples and the environment are written as JSON. It exits with
//! 1 when anything failed; a promise that does not hold is a result.

mod chart;
mod environment;
mod images;
mod latency;
mod memory;
mod peers;
mod podman;
mod registry;
mod report;
mod samples;
mod storage;
mod streams;
mod system;
mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use report::Report;
use system::System;

#[derive(Debug, Parser)]
#[command(
    about = "Measures container against bare QEMU and, where it is installed, podman with crun"
)]
struct Arguments {
    /// Staged prefix.
    #[arg(long, env = "CONTAINER_TEST_PREFIX")]
    prefix: PathBuf,
    /// The busybox image archive.
    #[arg(long, env = "CONTAINER_TEST_IMAGE")]
    image: PathBuf,
    /// The engine's `bare_vm` example.
    #[arg(long)]
    bare_vm: PathBuf,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// The most idle containers in the density measurement.
    #[arg(long, default_value_t = 100)]
    density: usize,
    /// Wheels of peers with machines of their own, unpacked: see scripts/peers.sh. Without them they are not measured.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// What is measured; everything, unless named.
    #[arg(long, value_enum)]
    only: Vec<Subject>,
    /// Rounds of pulling and reading images, and of storage.
    #[arg(long, default_value_t = 3)]
    pulls: usize,
    /// Where the raw samples and the chart go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Starts one by one, against the bare VMM and podman.
    Starts,
    /// Starts at once, `list`, `exec`.
    Calls,
    /// Bytes into a container and out of it.
    Streams,
    /// What the daemons and idle machines hold.
    Memory,
    /// Volumes, shares, copies, and what they cost.
    Storage,
    /// Pulls, and reading an image in a guest.
    Images,
    /// Starts, further processes and memory, beside peers with machines of their own.
    Peers,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let system = System::start(&arguments.prefix, &arguments.image, false)?;
    let mut report = Report::new(environment::manifest(&system));
    let subjects = if arguments.only.is_empty() {
        Subject::value_variants()
    } else {
        &arguments.only
    };
    for subject in subjects {
        let rounds = arguments.rounds;
        let measured = match subject {
            Subject::Starts => latency::starts(&system, &arguments.bare_vm, rounds, &mut report),
            Subject::Calls => {
                latency::calls(&system, rounds, &mut report);
                Ok(())
            }
            Subject::Streams => streams::measure(&system, rounds, &mut report),
            Subject::Memory => memory::measure(&system, arguments.density, &mut report),
            Subject::Peers => match &arguments.peers {
                Some(wheels) => peers::measure(&system, wheels, rounds, &mut report),
                None => Ok(()),
            },
            Subject::Storage => storage::measure(&system, arguments.pulls, &mut report),
            Subject::Images => images::measure(&system, arguments.pulls, &mut report),
        };
        // What was measured before is kept.
        report.keep(&format!("{subject:?}"), measured);
    }
    println!("{}", report.table());
    std::fs::create_dir_all(&arguments.out).context("create the output directory")?;
    report.write(&arguments.out)?;
    // A run that measured less than it should is told from one that did not, by programs too.
    Ok(if report.has_failures() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
