use clap::Args;
use container_api::machine::CloneRequest;

use super::create::{name, suffix};
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Make a copy of a machine
///
/// A running machine is paused while its disk is copied. After that the two disks are independent. Prints the new name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine clone dev dev-old")]
pub struct Clone {
    /// Machine to copy
    #[arg(value_name = "MACHINE", add = completion::machines())]
    id: String,

    /// Name of the new machine
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
}

impl Clone {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = CloneRequest {
            id: self.id,
            name: self.name.clone(),
            suffix: suffix(),
        };
        context.machines()?.clone_machine(request).await?;
        output::write_lines([self.name])
    }
}
