//! microsandbox: a program with libkrun inside, and libkrunfw beside it.

use std::path::Path;

use anyhow::Context;

use super::commands::Program;
use super::{MEMORY, Peer};

/// As scripts/peers.sh pins it.
pub const NAME: &str = "microsandbox 0.7.11";

const IMAGE: &str = "busybox:latest";

struct Microsandbox(Program);

/// With the image of `archive`.
pub fn load(wheels: &Path, scratch: &Path, archive: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let program = Program {
        path: wheels.join("microsandbox/_bundled/bin/msb"),
        environment: vec![("MSB_HOME", scratch.join("microsandbox").into())],
    };
    let archive = archive.to_str().context("the image's path")?;
    program.run(&["load", "--quiet", "--input", archive])?;
    let peer = Microsandbox(program);
    peer.0.run(&Microsandbox::run_true())?;
    Ok(Box::new(peer))
}

impl Microsandbox {
    fn run_true() -> [&'static str; 10] {
        [
            "run",
            "--quiet",
            "--cpus",
            "1",
            "--memory",
            MEMORY,
            "--no-stdin",
            IMAGE,
            "--",
            "true",
        ]
    }
}

impl Peer for Microsandbox {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self) -> anyhow::Result<f64> {
        self.0.time(&Self::run_true())
    }

    fn stand(&self, name: &str) -> anyhow::Result<()> {
        self.0.run(&[
            "create", "--quiet", "--cpus", "1", "--memory", MEMORY, "--name", name, IMAGE,
        ])
    }

    fn exec(&self, name: &str) -> anyhow::Result<f64> {
        self.0.time(&["exec", "--quiet", name, "--", "true"])
    }

    fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.0.run(&["remove", "--quiet", "--force", name])
    }
}
