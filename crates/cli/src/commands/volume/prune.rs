use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use container_api::volume::DeleteRequest;

use super::filter::{self, Filter};
use super::list;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;
use crate::select;

/// Delete all volumes that no container uses
///
/// Volumes with a name are deleted, too, with their files. On a terminal it says which, and asks first. Prints the names.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume prune
  container volume prune --force --filter label=team=web
  container volume prune --filter 'label!=keep'")]
pub struct Prune {
    /// As always: those that have a name, too
    #[arg(short, long, hide = true)]
    all: bool,

    /// Delete only those that fit: label=<key>[=<value>], label!=<key>[=<value>], name=<part of the name>
    #[arg(long = "filter", value_name = "FILTER", value_parser = filter::parse)]
    filters: Vec<Filter>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Prune {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let unused = list(context, &[])
            .await?
            .into_iter()
            .filter(|listed| !listed.used && self.filters.iter().all(|filter| filter.fits(listed)));
        let names: Vec<String> = unused.map(|listed| listed.volume.id).collect();
        if !self.force && !names.is_empty() {
            let confirmed = confirmed(&names).map_err(|error| Failure::Local(error.into()))?;
            if !confirmed {
                return Ok(());
            }
        }
        let volumes = context.volumes()?;
        select::prune(names, |name| {
            let mut volumes = volumes.clone();
            async move {
                let deleted = volumes.delete(DeleteRequest { name }).await?;
                Ok(deleted.into_inner().reclaimed_bytes)
            }
        })
        .await
    }
}

/// Says what is deleted, and asks whether it shall be, where somebody can answer.
fn confirmed(names: &[String]) -> io::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    output::tell("No container uses these volumes:");
    for name in names {
        output::tell(format_args!("  {name}"));
    }
    output::ask("Delete them with all of their files? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(matches!(answer.as_str(), "y" | "yes"))
}
