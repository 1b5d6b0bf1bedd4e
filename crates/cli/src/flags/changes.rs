//! Metadata for an image that is made here.

use clap::Args;

/// Settings of a new image.
#[derive(Args, Debug)]
pub struct ChangeFlags {
    /// Apply a Dockerfile instruction: CMD, ENTRYPOINT, ENV, LABEL, USER, WORKDIR and the like
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,

    /// Set the comment of the image's history
    #[arg(
        short,
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub message: String,
}
