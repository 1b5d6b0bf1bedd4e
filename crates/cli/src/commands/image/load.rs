use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use clap::Args;
use container_api::images::LoadRequest;
use container_api::{Error, Kind};

use super::transfer::Progress;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::ProgressFlags;
use crate::output;

/// Load images from an archive
///
/// The archive is an OCI image layout, or what `docker save` writes, as a tar, which may be compressed with gzip, zstd, xz or bzip2. Prints
/// the references. Images that cannot be used are reported and skipped; the exit code is then 1.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image load -i busybox.tar
  zcat busybox.tar.gz | container image load")]
pub struct Load {
    /// Archive (default: standard input)
    #[arg(short, long, value_name = "PATH")]
    input: Option<PathBuf>,

    /// Skip members whose path leads out of the archive, instead of refusing the archive
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    progress: ProgressFlags,
}

impl Load {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut images = context.images().await?;
        let file = match &self.input {
            Some(path) => Some(File::open(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    Failure::Local(anyhow::anyhow!("file does not exist: {}", path.display()))
                }
                _ => Failure::Local(anyhow::Error::new(error).context(path.display().to_string())),
            })?),
            None if io::stdin().is_terminal() => {
                return Err(Failure::usage(
                    "an archive is expected on standard input, or --input",
                ));
            }
            None => None,
        };
        let size = file
            .as_ref()
            .and_then(|file| Some(file.metadata().ok()?.len()))
            .unwrap_or(0);
        let token = match &file {
            Some(file) => context.hand_to_images(file.as_fd()).await?,
            None => context.hand_to_images(io::stdin().as_fd()).await?,
        };
        let mut messages = images
            .load(LoadRequest {
                token,
                force: self.force,
                names: Vec::new(),
            })
            .await?
            .into_inner();
        let mut progress = Progress::new(self.progress.style());
        let mut references = Vec::new();
        let mut rejected = Vec::new();
        let (mut warnings, mut errors) = (Vec::new(), Vec::new());
        while let Some(message) = messages.message().await? {
            progress.single("loading", message.bytes_read, size);
            references.extend(message.references);
            rejected.extend(message.rejected_paths);
            warnings.extend(message.warnings);
            errors.extend(message.errors);
        }
        progress.finish();
        if !rejected.is_empty() {
            output::tell(format_args!(
                "Warning: archive contains invalid members: {}",
                rejected.join(", ")
            ));
        }
        for warning in warnings {
            output::tell(format_args!(
                "Warning: {}",
                output::printable_lines(&warning)
            ));
        }
        output::write_lines(references)?;
        let failed = errors
            .into_iter()
            .map(|error| Failure::Service(Error::new(Kind::InvalidArgument, error)));
        Failure::gather(failed.collect())
    }
}
