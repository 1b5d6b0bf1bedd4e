//! The worker process: `container-core-images unpack-layer`.
//!
//! Standard input is the compressed layer, standard output the empty file for the image; the verdict is one
//! JSON line on standard error. It shuts itself in before it reads the first byte.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use container_resource::digest::Digest;
use erofs::Limits;
use serde::{Deserialize, Serialize};

use super::convert::convert;
use super::sandbox;

/// Arguments of the hidden subcommand.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WorkerArguments {
    /// The most bytes that the layer may expand to.
    #[arg(long)]
    pub budget: u64,
}

/// What the worker says when it is done.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The image is written.
    Converted {
        /// Of the compressed stream.
        blob: Digest,
        /// Of the tar stream.
        diff_id: Digest,
        /// Members.
        entries: u64,
    },
    /// The chain of causes.
    Refused(String),
    /// The disk is full: the layer is not to blame.
    NoSpace,
}

/// Runs the worker.
pub fn run(arguments: WorkerArguments) -> ExitCode {
    let verdict = match work(arguments) {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Refused(format!("{error:#}")),
    };
    let failed = !matches!(verdict, Verdict::Converted { .. });
    let line = serde_json::to_string(&verdict).unwrap_or_default();
    let told = writeln!(std::io::stderr(), "{line}").is_ok();
    if failed || !told {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn work(arguments: WorkerArguments) -> anyhow::Result<Verdict> {
    let blob = File::from(rustix::io::dup(rustix::stdio::stdin())?);
    let image = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    sandbox::enter(arguments.budget)?;
    let converted = match convert(blob, image, arguments.budget, Limits::default()) {
        Err(error) if error.is_out_of_space() => return Ok(Verdict::NoSpace),
        converted => converted?,
    };
    Ok(Verdict::Converted {
        blob: converted.blob,
        diff_id: converted.diff_id,
        entries: converted.entries,
    })
}
