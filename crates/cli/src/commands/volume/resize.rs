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
    #[arg(value_name = "SIZE", value_parser = volume::parse_size, required_unless_present = "size_option")]
    size: Option<u64>,

    /// As SIZE, the way `volume create` has it
    #[arg(id = "size_option", short, long = "size", value_name = "SIZE", value_parser = volume::parse_size, conflicts_with = "size", hide = true)]
    size_option: Option<u64>,
}

impl Resize {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = ResizeRequest {
            name: self.name.clone(),
            // There is one.
            size_bytes: self.size.or(self.size_option).unwrap_or_default(),
        };
        context.volumes()?.resize(request).await?;
        output::write_lines([self.name])
    }
}
