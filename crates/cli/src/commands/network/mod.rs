//! `container network`.

mod connect;
mod create;
mod delete;
mod inspect;
mod list;
mod prune;

use clap::Subcommand;
use container_api::api::ListNetworksRequest;
use container_resource::network_status::ManagedNetwork;

use crate::connection::{Context, prompt};
use crate::failure::Failure;

/// Manage networks
#[derive(Debug, Subcommand)]
pub enum Command {
    Connect(connect::Connect),
    Create(create::Create),
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    Disconnect(connect::Disconnect),
    Inspect(inspect::Inspect),
    #[command(visible_alias = "ls")]
    List(list::List),
    Prune(prune::Prune),
}

impl Command {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Connect(command) => command.execute(context).await,
            Self::Create(command) => command.execute(context).await,
            Self::Delete(command) => command.execute(context).await,
            Self::Disconnect(command) => command.execute(context).await,
            Self::Inspect(command) => command.execute(context).await,
            Self::List(command) => command.execute(context).await,
            Self::Prune(command) => command.execute(context).await,
        }
    }
}

/// The networks `names`, all of them for none, with their containers where `members` are wanted.
pub async fn find(
    context: &Context,
    names: &[String],
    members: bool,
) -> Result<Vec<ManagedNetwork>, Failure> {
    let request = ListNetworksRequest {
        names: names.to_vec(),
        members,
    };
    let reply = prompt(context.networks()?.list(request)).await?;
    Ok(serde_json::from_slice(&reply.networks)?)
}
