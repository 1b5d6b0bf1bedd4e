use clap::Args;
use container_api::volume;
use container_api::{Error, Kind};
use container_resource::builder::cache;

use super::{BuilderName, engine};
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;
use crate::select;

/// Delete a builder, with its cache
///
/// Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container builder delete --force
  container builder delete --builder nightly --keep-cache")]
pub struct Delete {
    #[command(flatten)]
    builder: BuilderName,

    /// Delete it even if it runs
    #[arg(short, long)]
    force: bool,

    /// Keep the cache for the next builder of that name
    #[arg(long)]
    keep_cache: bool,
}

impl Delete {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let name = self.builder.name;
        let Some(found) = super::find(context, &name).await? else {
            let error = Error::new(Kind::NotFound, format!("builder not found: {name}"));
            return Err(error.into());
        };
        if select::is_live(&found) && !self.force {
            let error = Error::new(Kind::InvalidState, format!("builder {name} is running"));
            let hint = "Stop it with `container builder stop`, or delete it with --force.";
            return Err(error.with_hint(hint).into());
        }
        engine::remove(context, &name).await?;
        if !self.keep_cache {
            let request = volume::DeleteRequest { name: cache(&name) };
            context.volumes()?.delete(request).await?;
        }
        output::write_lines([name])
    }
}
