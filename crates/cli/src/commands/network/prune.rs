use clap::Args;
use container_api::api::PruneNetworksRequest;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::UnaskedFlag;
use crate::output;

/// Delete all networks that have no container
///
/// Stopped containers count, too. The builtin network stays. Prints the names.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container network prune")]
pub struct Prune {
    #[command(flatten)]
    unasked: UnaskedFlag,
}

impl Prune {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let reply = context.networks()?.prune(PruneNetworksRequest {}).await?;
        output::write_lines(reply.into_inner().names)
    }
}
