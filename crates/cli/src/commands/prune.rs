use clap::Args;
use container_api::api::DeleteRequest;
use container_resource::container::ContainerState;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::UnaskedFlag;
use crate::select;

/// Delete all containers that do not run
///
/// Prints their ids, and on standard error how much space became free.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container prune")]
pub struct Prune {
    #[command(flatten)]
    unasked: UnaskedFlag,
}

impl Prune {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut containers = context.containers()?;
        let stopped = select::list(&mut containers, &[])
            .await?
            .into_iter()
            .filter(|container| container.status.state == ContainerState::Stopped)
            .map(|container| container.id)
            .collect();
        select::prune(stopped, |id| {
            let mut containers = containers.clone();
            async move {
                let request = DeleteRequest {
                    id,
                    ..DeleteRequest::default()
                };
                Ok(containers
                    .delete(request)
                    .await?
                    .into_inner()
                    .reclaimed_bytes)
            }
        })
        .await
    }
}
