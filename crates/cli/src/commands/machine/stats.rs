use clap::Args;

use super::super::stats::{Called, Stats as OfContainers, StatsFlags};
use super::{list, one};
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;

/// Show the resources that machines use
///
/// CPU use is an average of the last two seconds, in percent of one CPU.
///
/// Net Rx/Tx is the sum of all networks. The other formats have each network, too: `networks.<name>` with bytes, packets, errors and what was dropped.
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
        let mut machines = Vec::new();
        for id in &self.ids {
            machines.push(one(context, Some(id)).await?);
        }
        if self.ids.is_empty() {
            machines = list(context).await?;
        }
        let called = Called {
            title: "Machine",
            names: machines
                .iter()
                .map(|machine| (machine.container_id.clone(), machine.id.clone()))
                .collect(),
        };
        let flags = self.flags;
        // Without a name, all containers would be meant.
        if machines.is_empty() {
            return flags.show_none(&called);
        }
        let ids = machines.into_iter().map(|machine| machine.container_id);
        let stats = OfContainers {
            ids: ids.collect(),
            flags,
        };
        stats.show(context, &called).await
    }
}
