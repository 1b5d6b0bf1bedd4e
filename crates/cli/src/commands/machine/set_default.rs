use clap::Args;
use container_api::machine::SetDefaultRequest;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Choose the default machine
///
/// Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine set-default dev")]
pub struct SetDefault {
    /// Machine
    #[arg(value_name = "MACHINE", add = completion::machines())]
    id: String,
}

impl SetDefault {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = SetDefaultRequest {
            id: self.id.clone(),
        };
        context.machines()?.set_default(request).await?;
        output::write_lines([self.id])
    }
}
