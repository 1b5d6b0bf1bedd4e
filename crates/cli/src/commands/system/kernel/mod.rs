//! `container system kernel`.

mod archive;
mod set;

use clap::Subcommand;

use crate::connection::Context;
use crate::failure::Failure;

/// Manage the kernel that guests boot
#[derive(Debug, Subcommand)]
pub enum Command {
    Set(set::Set),
}

impl Command {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let Self::Set(command) = self;
        command.execute(context).await
    }
}
