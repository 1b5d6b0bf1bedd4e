use clap::Args;
use container_api::api::DeleteRequest;

use crate::connection::Context;
use crate::failure::Failure;
use crate::select::{self, Selection};

/// Delete containers
///
/// Everything that they wrote is deleted, too. A running container is refused (with --all: left alone), unless --force is given, which
/// kills it first. Prints the ids.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container delete web
  container delete --all --force")]
pub struct Delete {
    #[command(flatten)]
    selection: Selection,

    /// Kill containers that run
    #[arg(short, long)]
    force: bool,

    /// Also delete their anonymous volumes: those that got no name from a user
    #[arg(short, long)]
    volumes: bool,
}

impl Delete {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        self.selection.check()?;
        let mut containers = context.containers()?;
        let deletable = |container: &_| self.force || !select::is_live(container);
        let ids = self.selection.resolve(&mut containers, deletable).await?;
        select::for_each(ids, |id| {
            let mut containers = containers.clone();
            let request = DeleteRequest {
                id,
                force: self.force,
                volumes: self.volumes,
            };
            async move { Ok(containers.delete(request).await.map(drop)?) }
        })
        .await
    }
}
