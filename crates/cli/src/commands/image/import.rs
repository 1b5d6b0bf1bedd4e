use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use container_api::images::ImportRequest;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{ChangeFlags, PlatformFlags};
use crate::output;

/// Make an image of a root file system
///
/// The image has one layer: the given tar, which may be compressed with gzip, zstd, xz or bzip2. What `image save` wrote is for `image load`.
/// Prints the reference.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image import --change 'CMD [\"/bin/sh\"]' rootfs.tar mine:v1
  tar -C rootfs -c . | container image import - mine")]
pub struct Import {
    #[command(flatten)]
    image: ChangeFlags,

    #[command(flatten)]
    platform: PlatformFlags,

    /// Root file system as a tar; - is standard input
    #[arg(value_name = "PATH")]
    input: PathBuf,

    /// Name of the image
    #[arg(value_name = "IMAGE")]
    reference: String,
}

impl Import {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut images = context.images().await?;
        let token = if self.input == Path::new("-") {
            if io::stdin().is_terminal() {
                return Err(Failure::usage("a tar is expected on standard input"));
            }
            context.hand_to_images(io::stdin().as_fd()).await?
        } else {
            let file = File::open(&self.input).with_context(|| self.input.display().to_string())?;
            context.hand_to_images(file.as_fd()).await?
        };
        let request = ImportRequest {
            token,
            reference: self.reference,
            platform: self.platform.requested(),
            changes: self.image.changes,
            message: self.image.message,
            ..ImportRequest::default()
        };
        let reply = images.import(request).await?.into_inner();
        for warning in &reply.warnings {
            output::tell(format_args!("Warning: {warning}"));
        }
        output::write_lines([reply.reference])
    }
}
