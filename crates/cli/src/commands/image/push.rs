use clap::Args;
use container_api::images::PushRequest;

use super::transfer::Progress;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{PlatformFlags, ProgressFlags, SchemeFlags};
use crate::output;

/// Send an image to a registry
///
/// The name of the image contains the registry. Prints the reference.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image tag busybox localhost:5000/busybox
  container image push localhost:5000/busybox")]
pub struct Push {
    #[command(flatten)]
    scheme: SchemeFlags,
    #[command(flatten)]
    platform: PlatformFlags,
    #[command(flatten)]
    progress: ProgressFlags,

    /// Image
    #[arg(value_name = "IMAGE", add = completion::images())]
    reference: String,
}

impl Push {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = PushRequest {
            reference: self.reference,
            platform: self.platform.requested(),
            scheme: self.scheme.wire(),
        };
        let messages = context.images().await?.push(request).await?.into_inner();
        let reference = Progress::new(self.progress.style()).show(messages).await?;
        output::write_lines([reference])
    }
}
