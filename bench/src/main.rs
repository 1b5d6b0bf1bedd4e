//! Measures the staged programs against peers. Every comparison is paired: the two commands take turns in one
//! run, so that a machine that drifts changes both. Raw samples and the environment are written as JSON.

mod chart;
mod environment;
mod images;
mod latency;
mod memory;
mod podman;
mod registry;
mod report;
mod samples;
mod streams;
mod system;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

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
    /// Measure starts against the bare VMM, and nothing else.
    #[arg(long)]
    starts_only: bool,
    /// Rounds of pulling and reading images; 0 leaves them out.
    #[arg(long, default_value_t = 3)]
    pulls: usize,
    /// Where the raw samples and the chart go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let system = System::start(&arguments.prefix, &arguments.image)?;
    let mut report = Report::new(environment::manifest(&system));
    latency::starts(&system, &arguments.bare_vm, arguments.rounds, &mut report)?;
    if !arguments.starts_only {
        latency::measure(&system, arguments.rounds, &mut report)?;
        streams::measure(&system, arguments.rounds, &mut report)?;
        memory::measure(&system, arguments.density, &mut report)?;
        if arguments.pulls > 0 {
            images::measure(&system, arguments.pulls, &mut report)?;
        }
    }
    std::fs::create_dir_all(&arguments.out).context("create the output directory")?;
    report.write(&arguments.out)?;
    println!("{}", report.table());
    Ok(())
}
