use clap::Args;
use container_api::Kind;
use container_api::api::DeleteNetworkRequest;
use container_resource::network_status::ManagedNetwork;

use super::find;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::select;

/// Delete networks
///
/// A network that has a container, running or stopped, is refused. Prints the names.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container network delete backend
  container network delete --all")]
pub struct Delete {
    /// Networks
    #[arg(value_name = "NETWORK", add = completion::networks())]
    names: Vec<String>,

    /// Delete all networks but the builtin one
    #[arg(short, long)]
    all: bool,

    /// Ignore networks that do not exist
    #[arg(short, long)]
    force: bool,
}

impl Delete {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut names = Vec::new();
        match (self.all, self.names.is_empty()) {
            (false, true) => {
                return Err(Failure::usage(
                    "no networks specified and --all not supplied",
                ));
            }
            (true, false) => {
                return Err(Failure::usage(
                    "explicitly supplied network name(s) conflict with the --all flag",
                ));
            }
            (true, true) => {
                let networks = find(context, &[], false).await?;
                let own = networks.iter().filter(|network| !network.is_builtin());
                names.extend(own.map(|network: &ManagedNetwork| network.id.clone()));
            }
            (false, false) => {
                for name in self.names {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
        }
        let networks = context.networks()?;
        select::for_each(names, |name| {
            let mut networks = networks.clone();
            async move {
                let deleted = networks.delete(DeleteNetworkRequest { name }).await;
                match deleted.map(drop).map_err(Failure::from) {
                    Err(failure) if self.force && failure.kind() == Some(Kind::NotFound) => Ok(()),
                    deleted => deleted,
                }
            }
        })
        .await
    }
}
