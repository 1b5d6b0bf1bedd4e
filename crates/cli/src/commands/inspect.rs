use clap::Args;
use container_api::{Error, Kind};
use container_resource::container::ManagedContainer;

use super::list::shown;
use crate::completion;
use crate::connection::{Containers, Context};
use crate::failure::Failure;
use crate::{output, select};

/// Show everything about containers, as JSON
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  How did it end?
    container inspect web | jq '.[0].status'")]
pub struct Inspect {
    /// Containers
    #[arg(value_name = "CONTAINER", required = true, add = completion::containers())]
    ids: Vec<String>,
}

impl Inspect {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut containers = context.containers()?;
        let found = named(&mut containers, &self.ids).await?;
        output::write_pretty(&found.into_iter().map(shown).collect::<Vec<_>>())
    }
}

/// The containers `ids`, in that order; each of them must exist.
pub async fn named(
    containers: &mut Containers,
    ids: &[String],
) -> Result<Vec<ManagedContainer>, Failure> {
    let found = match select::list(containers, ids).await {
        Err(failure) if failure.kind() == Some(Kind::NotFound) => {
            select::list(containers, &[]).await?
        }
        other => other?,
    };
    let mut named = Vec::with_capacity(ids.len());
    let mut missing: Vec<&str> = Vec::new();
    for id in ids {
        match found.iter().find(|container| container.id == *id) {
            Some(container) => named.push(container.clone()),
            None => missing.push(id),
        }
    }
    if missing.is_empty() {
        return Ok(named);
    }
    let message = format!("container not found: {}", missing.join(", "));
    Err(Failure::Service(Error::new(Kind::NotFound, message)))
}

/// The container `id`.
pub async fn one(containers: &mut Containers, id: &str) -> Result<ManagedContainer, Failure> {
    // One id in, one container out.
    let mut found = named(containers, &[id.to_owned()]).await?;
    Ok(found.remove(0))
}
