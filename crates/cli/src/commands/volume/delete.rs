use clap::Args;
use container_api::Kind;
use container_api::volume::DeleteRequest;

use super::list;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::select;

/// Delete volumes and their files
///
/// A volume that a container uses, running or stopped, is refused (with --all: left alone). Prints the names.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume delete data
  container volume delete --all")]
pub struct Delete {
    /// Volumes
    #[arg(value_name = "VOLUME", add = completion::volumes())]
    names: Vec<String>,

    /// Delete all volumes that no container uses
    #[arg(short, long)]
    all: bool,

    /// Ignore volumes that do not exist
    #[arg(short, long)]
    force: bool,
}

impl Delete {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let names = match (self.all, self.names.is_empty()) {
            (false, true) => {
                return Err(Failure::usage(
                    "no volumes specified and --all not supplied",
                ));
            }
            (true, false) => {
                return Err(Failure::usage(
                    "explicitly supplied volume name(s) conflict with the --all flag",
                ));
            }
            (true, true) => {
                let all = list(context, &[]).await?.into_iter();
                let free = all.filter(|listed| !listed.used);
                free.map(|listed| listed.volume.id).collect()
            }
            (false, false) => {
                let mut names: Vec<String> = Vec::new();
                for name in self.names {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                names
            }
        };
        let volumes = context.volumes()?;
        select::for_each(names, |name| {
            let mut volumes = volumes.clone();
            async move {
                let deleted = volumes.delete(DeleteRequest { name }).await;
                match deleted.map(drop).map_err(Failure::from) {
                    Err(failure) if self.force && failure.kind() == Some(Kind::NotFound) => Ok(()),
                    deleted => deleted,
                }
            }
        })
        .await
    }
}
