//! `container builder`.

mod delete;
mod emulation;
mod engine;
mod known;
mod prune;
mod start;
mod status;
mod stop;

use clap::{Args, Subcommand};
use container_api::api::ListRequest;
use container_resource::builder::{self, DEFAULT};
use container_resource::container::ManagedContainer;

use crate::connection::{Context, prompt};
use crate::failure::Failure;
use crate::select;

pub use emulation::emulate;
pub use engine::{Resources, ensure};

/// Manage builders: containers in which images are built
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    Prune(prune::Prune),
    Start(Box<start::Start>),
    Status(status::Status),
    Stop(stop::Stop),
}

impl Command {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Delete(command) => command.execute(context).await,
            Self::Prune(command) => command.execute(context).await,
            Self::Start(command) => command.execute(context).await,
            Self::Status(command) => command.execute(context).await,
            Self::Stop(command) => command.execute(context).await,
        }
    }
}

/// Which builder is meant.
#[derive(Args, Clone, Debug)]
pub struct BuilderName {
    /// Name of the builder; each builder has a cache of its own
    #[arg(long = "builder", value_name = "NAME", default_value = DEFAULT, env = "BUILDX_BUILDER", hide_env = true,
          value_parser = builder::check_name)]
    pub name: String,
}

/// Every builder, by name.
async fn list(context: &Context) -> Result<Vec<ManagedContainer>, Failure> {
    let mut containers = context.containers()?;
    let reply = prompt(containers.list(ListRequest::default())).await?;
    let mut found: Vec<ManagedContainer> = serde_json::from_slice(&reply.containers)?;
    found.retain(builder::is_builder);
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// The builder `name`, if there is one.
async fn find(context: &Context, name: &str) -> Result<Option<ManagedContainer>, Failure> {
    let ids = [name.to_owned()];
    let found = select::list(&mut context.containers()?, &ids).await?;
    Ok(found.into_iter().find(builder::is_builder))
}
