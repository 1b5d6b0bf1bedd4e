//! The worker process of a layer: `container-core-images unpack-layer`.
//!
//! Standard input is the compressed layer, standard output the empty file for the image; the verdict is one
//! JSON line on standard error. It shuts itself in before it reads the first byte.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use container_resource::digest::Digest;
use erofs::Limits;
use serde::{Deserialize, Serialize};

use super::convert::{ConvertError, convert};
use super::sandbox;

/// Name of the hidden subcommand.
pub const CONVERT: &str = "unpack-layer";
/// Most bytes of what a refusal says.
const MAX_REASON: usize = 4096;

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
    /// The view is written.
    Merged,
    /// The chain of causes.
    Refused(String),
    /// It would be larger than the budget.
    TooLarge,
    /// The disk is full: the layer is not to blame.
    NoSpace,
}

/// Converts a layer.
pub fn run(arguments: WorkerArguments) -> ExitCode {
    tell(work(arguments))
}

/// Says how the work ended.
pub(super) fn tell(outcome: anyhow::Result<Verdict>) -> ExitCode {
    let verdict = match outcome {
        Ok(verdict) => verdict,
        Err(error) => {
            let mut reason = format!("{error:#}");
            let end = (0..=MAX_REASON)
                .rev()
                .find(|end| reason.is_char_boundary(*end));
            reason.truncate(end.unwrap_or(0).min(reason.len()));
            Verdict::Refused(reason)
        }
    };
    let failed = !matches!(verdict, Verdict::Converted { .. } | Verdict::Merged);
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
        Err(ConvertError::Budget(_)) => return Ok(Verdict::TooLarge),
        converted => converted?,
    };
    Ok(Verdict::Converted {
        blob: converted.blob,
        diff_id: converted.diff_id,
        entries: converted.entries,
    })
}
