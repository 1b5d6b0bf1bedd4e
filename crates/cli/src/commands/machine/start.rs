use clap::Args;

use super::boot;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Boot a machine, unless it runs
///
/// Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine start dev")]
pub struct Start {
    /// Machine (default: the default one)
    #[arg(value_name = "MACHINE", add = completion::machines())]
    id: Option<String>,
}

impl Start {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let machine = boot(context, self.id.as_deref()).await?;
        output::write_lines([machine.id])
    }
}
