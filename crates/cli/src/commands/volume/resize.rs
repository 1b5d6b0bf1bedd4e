use clap::Args;
use container_api::volume::ResizeRequest;
use container_resource::volume;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Make a volume larger
///
/// No running container may use the volume. Its file system grows when a container next writes to it. A volume cannot be made smaller.
/// Prints the name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume resize data 1T")]
pub struct Resize {
    /// Volume
    #[arg(value_name = "VOLUME", add = completion::volumes())]
    name: String,

    /// New size, with an optional unit (K, M, G, T or P)
    #[arg(value_name = "SIZE", value_parser = volume::parse_size)]
    size: u64,
}

impl Resize {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = ResizeRequest {
            name: self.name.clone(),
            size_bytes: self.size,
        };
        context.volumes()?.resize(request).await?;
        output::write_lines([self.name])
    }
}
