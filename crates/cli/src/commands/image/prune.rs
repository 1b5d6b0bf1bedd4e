use clap::Args;
use container_api::images::PruneRequest;
use container_resource::size;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::UnaskedFlag;
use crate::output;

/// Delete images that nothing uses
///
/// Deletes images without a name; with --all, also images with a name that no container uses.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image prune
  container image prune --all")]
pub struct Prune {
    /// Also delete images that have a name
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    unasked: UnaskedFlag,
}

impl Prune {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let reply = context
            .images()
            .await?
            .prune(PruneRequest { all: self.all })
            .await?
            .into_inner();
        let untagged = reply.untagged.iter().map(|name| format!("untagged {name}"));
        let deleted = reply
            .deleted
            .iter()
            .map(|digest| format!("deleted {digest}"));
        output::write_lines(untagged.chain(deleted))?;
        output::tell(format_args!(
            "Reclaimed {} in disk space",
            size::disk(reply.reclaimed_bytes)
        ));
        Ok(())
    }
}
