use clap::Args;
use container_api::api::StopRequest;

use super::stop::StopFlags;
use crate::connection::Context;
use crate::failure::Failure;
use crate::select::{self, Selection};
use crate::session;

/// Stop containers and start them again
///
/// The files that they wrote are kept. A stopped container is started. A container with --rm is not deleted. Prints the ids.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container restart web
  container restart --time 0 web")]
pub struct Restart {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    flags: StopFlags,
}

impl Restart {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        self.selection.check()?;
        let mut containers = context.containers()?;
        let ids = self
            .selection
            .resolve(&mut containers, select::is_live)
            .await?;
        select::for_each(ids, |id| {
            let mut containers = containers.clone();
            let request = StopRequest {
                ssh_agent: session::ssh_agent(),
                ..self.flags.request(id)
            };
            async move { Ok(containers.restart(request).await.map(drop)?) }
        })
        .await
    }
}
