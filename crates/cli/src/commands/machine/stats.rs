use clap::Args;

use super::super::stats::{Stats as OfContainers, StatsFlags};
use super::{list, one};
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;

/// Show what machines use
///
/// Each by its container. CPU use is that of the last two seconds, in percent of one CPU.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine stats
  container machine stats --no-stream --format json dev")]
pub struct Stats {
    /// Machines (default: all that run)
    #[arg(value_name = "MACHINE", add = completion::machines())]
    ids: Vec<String>,

    #[command(flatten)]
    flags: StatsFlags,
}

impl Stats {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut ids = Vec::new();
        for id in &self.ids {
            ids.push(one(context, Some(id)).await?.container_id);
        }
        if self.ids.is_empty() {
            let all = list(context).await?.into_iter();
            ids.extend(all.map(|machine| machine.container_id));
        }
        let flags = self.flags;
        // Without a name, all containers would be meant.
        if ids.is_empty() {
            return flags.show_none();
        }
        OfContainers { ids, flags }.execute(context).await
    }
}
