use clap::Args;
use container_api::api::WaitRequest;
use futures::future::join_all;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Wait until containers have stopped
///
/// Prints the exit codes of their first processes, in the order of the arguments.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  code=$(container wait job)")]
pub struct Wait {
    /// Containers
    #[arg(value_name = "CONTAINER", required = true, add = completion::containers())]
    ids: Vec<String>,
}

impl Wait {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let containers = context.containers()?;
        let waits = self.ids.into_iter().map(|id| {
            let mut containers = containers.clone();
            async move {
                containers
                    .wait(WaitRequest {
                        id,
                        ..WaitRequest::default()
                    })
                    .await
            }
        });
        let mut codes = Vec::new();
        let mut failures = Vec::new();
        for ended in join_all(waits).await {
            match ended {
                Ok(reply) => codes.push(reply.into_inner().exit_code.to_string()),
                Err(status) => failures.push(status.into()),
            }
        }
        output::write_lines(codes)?;
        Failure::gather(failures)
    }
}
