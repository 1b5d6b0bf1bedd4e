use clap::Args;

use super::super::logs::LogFlags;
use super::one;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;

/// Show what a machine's init and services printed on its console
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  Watch it boot:
    container machine logs -f dev

  Messages of its kernel:
    container machine logs --boot dev")]
pub struct Logs {
    #[command(flatten)]
    flags: LogFlags,

    /// Machine (default: the default one)
    #[arg(value_name = "MACHINE", add = completion::machines())]
    id: Option<String>,
}

impl Logs {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let machine = one(context, self.id.as_deref()).await?;
        self.flags.show(context, machine.container_id).await
    }
}
