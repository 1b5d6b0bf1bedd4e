use clap::Args;

use super::one;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Show everything about machines, as JSON
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine inspect dev | jq -r '.[0].ipAddress'")]
pub struct Inspect {
    /// Machines (default: the default one)
    #[arg(value_name = "MACHINE", add = completion::machines())]
    ids: Vec<String>,
}

impl Inspect {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        if self.ids.is_empty() {
            return output::write_pretty(&[one(context, None).await?]);
        }
        let mut machines = Vec::with_capacity(self.ids.len());
        for id in &self.ids {
            machines.push(one(context, Some(id)).await?);
        }
        output::write_pretty(&machines)
    }
}
