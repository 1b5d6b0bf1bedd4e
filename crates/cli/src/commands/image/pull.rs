use clap::Args;
use container_api::images::PullRequest;

use super::transfer::Progress;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{DownloadFlags, PlatformFlags, ProgressFlags, SchemeFlags};
use crate::output;

/// Fetch an image from a registry
///
/// Prints its reference.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image pull alpine
  container image pull --platform linux/arm64 --scheme http localhost:5000/team/app:v1")]
pub struct Pull {
    #[command(flatten)]
    scheme: SchemeFlags,
    #[command(flatten)]
    download: DownloadFlags,
    #[command(flatten)]
    platform: PlatformFlags,
    #[command(flatten)]
    progress: ProgressFlags,

    /// Image
    #[arg(value_name = "IMAGE")]
    reference: String,
}

impl Pull {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = PullRequest {
            reference: self.reference,
            platform: self.platform.requested(),
            scheme: self.scheme.wire(),
            max_concurrent_downloads: self.download.max_concurrent_downloads,
        };
        let messages = context.images().await?.pull(request).await?.into_inner();
        let reference = Progress::new(self.progress.style()).show(messages).await?;
        output::write_lines([reference])
    }
}
