use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use container_api::Kind;
use container_api::api::DeleteRequest;
use container_resource::container::ContainerState;
use container_resource::size;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::UnaskedFlag;
use crate::output;
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
        let reclaimed = AtomicU64::new(0);
        let outcome = select::for_each_left(stopped, |id| {
            let mut containers = containers.clone();
            let reclaimed = &reclaimed;
            async move {
                let request = DeleteRequest {
                    id,
                    ..DeleteRequest::default()
                };
                match containers.delete(request).await.map_err(Failure::from) {
                    Ok(reply) => {
                        let bytes = reply.into_inner().reclaimed_bytes;
                        reclaimed.fetch_add(bytes, Ordering::Relaxed);
                        Ok(true)
                    }
                    // Somebody else was faster.
                    Err(failure) if failure.kind() == Some(Kind::NotFound) => Ok(false),
                    Err(failure) => Err(failure),
                }
            }
        })
        .await;
        output::tell(format_args!(
            "Reclaimed {} in disk space",
            size::disk(reclaimed.into_inner())
        ));
        outcome
    }
}
