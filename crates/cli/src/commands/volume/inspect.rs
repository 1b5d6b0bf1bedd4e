use clap::Args;

use super::named;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Show everything about volumes, as JSON
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume inspect data | jq -r '.[0].configuration.source'")]
pub struct Inspect {
    /// Volumes
    #[arg(value_name = "VOLUME", required = true, add = completion::volumes())]
    names: Vec<String>,
}

impl Inspect {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        output::write_pretty(&named(context, &self.names).await?)
    }
}
