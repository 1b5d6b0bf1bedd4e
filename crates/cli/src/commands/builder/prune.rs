use std::time::Duration;

use clap::Args;
use container_api::{Error, Kind};
use container_resource::size::memory;

use super::{BuilderName, Resources, ensure};
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::UnaskedFlag;
use crate::output;

/// Delete those parts of a builder's cache that no build uses
///
/// The builder is started for this. Prints how much space became free.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container builder prune --all
  container builder prune --keep-duration 72")]
pub struct Prune {
    #[command(flatten)]
    builder: BuilderName,

    /// Also delete parts on which other parts of the cache are based
    #[arg(short, long)]
    all: bool,

    /// Keep parts that were used within this many hours
    #[arg(long, value_name = "HOURS")]
    keep_duration: Option<u32>,

    #[command(flatten)]
    unasked: UnaskedFlag,
}

impl Prune {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let running = ensure(context, &self.builder.name, &Resources::default()).await?;
        let keep = self
            .keep_duration
            .map(|hours| Duration::from_secs(u64::from(hours) * 3600));
        let pruned = running.connection.prune(self.all, keep).await;
        let bytes = pruned.map_err(|status| {
            Error::new(Kind::Internal, status.message())
                .context("the builder cannot drop its cache")
        })?;
        output::tell(format_args!("Reclaimed {} of the cache", memory(bytes)));
        Ok(())
    }
}
