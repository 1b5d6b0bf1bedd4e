use clap::Args;

use super::{BuilderName, Resources, ensure};
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Start a builder
///
/// A build starts it by itself. One that runs with other resources is made anew; its cache stays. Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container builder start --cpus 8 --memory 16G
  container builder start --builder nightly")]
pub struct Start {
    #[command(flatten)]
    builder: BuilderName,

    #[command(flatten)]
    resources: Resources,
}

impl Start {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        ensure(context, &self.builder.name, &self.resources).await?;
        output::write_lines([self.builder.name])
    }
}
