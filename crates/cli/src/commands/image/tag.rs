use clap::Args;
use container_api::images::TagRequest;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Give an image another name
///
/// If another image has this name, that image loses it. Prints the new reference.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image tag busybox registry.example/team/busybox:v1")]
pub struct Tag {
    /// Image
    #[arg(value_name = "SOURCE", add = completion::images())]
    source: String,

    /// Its new name
    #[arg(value_name = "TARGET")]
    target: String,
}

impl Tag {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = TagRequest {
            source: self.source,
            target: self.target,
        };
        let reply = context.images().await?.tag(request).await?.into_inner();
        output::write_lines([reply.reference])
    }
}
