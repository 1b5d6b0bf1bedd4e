use clap::Args;
use container_api::volume::PruneRequest;
use container_resource::size;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::UnaskedFlag;
use crate::output;

/// Delete all volumes that no container uses
///
/// Volumes with a name are deleted, too. Prints the names.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume prune")]
pub struct Prune {
    /// As always: all that no container has
    #[arg(short, long, hide = true)]
    all: bool,

    #[command(flatten)]
    unasked: UnaskedFlag,
}

impl Prune {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let reply = context
            .volumes()?
            .prune(PruneRequest {})
            .await?
            .into_inner();
        output::write_lines(reply.names)?;
        output::tell(format_args!(
            "Reclaimed {} in disk space",
            size::disk(reply.reclaimed_bytes)
        ));
        Ok(())
    }
}
