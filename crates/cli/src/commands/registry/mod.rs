//! `container registry`.

mod list;
mod login;
mod logout;

use clap::Subcommand;

use crate::connection::Context;
use crate::failure::Failure;

/// Manage logins at registries
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "ls")]
    List(list::List),
    Login(login::Login),
    Logout(logout::Logout),
}

impl Command {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(command) => command.execute(context).await,
            Self::Login(command) => command.execute(context).await,
            Self::Logout(command) => command.execute(context).await,
        }
    }
}
