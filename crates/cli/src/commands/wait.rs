use clap::Args;
use container_api::api::WaitRequest;
use futures::future::join_all;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;
use crate::session::ended;

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
            let request = WaitRequest {
                id,
                ..WaitRequest::default()
            };
            ended(containers.clone(), request)
        });
        let mut codes = Vec::new();
        let mut failures = Vec::new();
        for outcome in join_all(waits).await {
            match outcome {
                Ok(reply) => codes.push(reply.exit_code.to_string()),
                Err(failure) => failures.push(failure),
            }
        }
        output::write_lines(codes)?;
        Failure::gather(failures)
    }
}
