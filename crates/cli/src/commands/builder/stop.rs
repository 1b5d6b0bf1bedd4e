use clap::Args;
use container_api::api::StopRequest;

use super::BuilderName;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Stop a builder
///
/// Builds in progress fail. The cache stays. Prints the name, if the builder ran.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container builder stop
  container builder stop --builder nightly")]
pub struct Stop {
    #[command(flatten)]
    builder: BuilderName,
}

impl Stop {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let name = self.builder.name;
        let found = super::find(context, &name).await?;
        if !found.is_some_and(|found| crate::select::is_live(&found)) {
            return Ok(());
        }
        let request = StopRequest {
            id: name.clone(),
            ..StopRequest::default()
        };
        context.containers()?.stop(request).await?;
        output::write_lines([name])
    }
}
