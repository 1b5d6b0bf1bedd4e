//! `container volume`.

mod copy;
mod create;
mod delete;
mod export;
mod filter;
mod import;
mod inspect;
mod list;
mod properties;
mod prune;
mod resize;

use clap::Subcommand;
use container_api::volume::ListRequest;
use container_api::{Error, Kind};
use container_resource::volume::{VolumeResource, VolumeUsage};

use crate::connection::{Context, prompt};
use crate::failure::Failure;

/// Manage volumes: disks that outlive containers
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(name = "copy", visible_alias = "cp")]
    Copy(copy::Copy),
    Create(create::Create),
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    Export(export::Export),
    Import(import::Import),
    Inspect(inspect::Inspect),
    #[command(visible_alias = "ls")]
    List(list::List),
    Prune(prune::Prune),
    Resize(resize::Resize),
}

impl Command {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Copy(command) => command.execute(context).await,
            Self::Create(command) => command.execute(context).await,
            Self::Delete(command) => command.execute(context).await,
            Self::Export(command) => command.execute(context).await,
            Self::Import(command) => command.execute(context).await,
            Self::Inspect(command) => command.execute(context).await,
            Self::List(command) => command.execute(context).await,
            Self::Prune(command) => command.execute(context).await,
            Self::Resize(command) => command.execute(context).await,
        }
    }
}

/// The volumes with these names, all of them for none, each with what it takes.
pub async fn list(context: &Context, names: &[String]) -> Result<Vec<VolumeUsage>, Failure> {
    let request = ListRequest {
        names: names.to_vec(),
    };
    let reply = prompt(context.volumes()?.list(request)).await?;
    Ok(serde_json::from_slice(&reply.volumes)?)
}

/// The volumes with these names; each of them must exist.
async fn named(context: &Context, names: &[String]) -> Result<Vec<VolumeResource>, Failure> {
    let found = list(context, names).await?;
    let (mut named, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match found.iter().find(|found| found.volume.id == *name) {
            Some(found) => named.push(found.volume.clone()),
            None => missing.push(name.as_str()),
        }
    }
    if missing.is_empty() {
        return Ok(named);
    }
    let message = format!("volume not found: {}", missing.join(", "));
    Err(Failure::Service(Error::new(Kind::NotFound, message)))
}
