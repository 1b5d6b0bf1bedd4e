use clap::Args;
use container_api::api::StopRequest;
use container_resource::container::ContainerState;

use super::{list, one};
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{Grace, parse_grace};
use crate::select;

/// Shut machines down
///
/// A machine that has not shut down in time is switched off. A stopped machine is left as it is. Prints the names.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine stop
  container machine stop --all
  container machine stop --time 60 dev")]
pub struct Stop {
    /// Machines (default: the default one)
    #[arg(value_name = "MACHINE", add = completion::machines(), conflicts_with = "all")]
    ids: Vec<String>,

    /// Take all machines that run
    #[arg(short, long)]
    all: bool,

    /// Seconds to wait for the shutdown (default: 10; -1: no limit)
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_grace)]
    time: Option<Grace>,
}

impl Stop {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut machines = Vec::new();
        if self.all {
            let all = list(context).await?.into_iter();
            machines.extend(all.filter(|machine| machine.status != ContainerState::Stopped));
        } else if self.ids.is_empty() {
            machines.push(one(context, None).await?);
        }
        for id in &self.ids {
            machines.push(one(context, Some(id)).await?);
        }
        let containers = context.containers()?;
        let timeout_ms = self.time.map(Grace::milliseconds);
        let names = machines.iter().map(|machine| machine.id.clone()).collect();
        select::for_each(names, |name| {
            let mut containers = containers.clone();
            let known = machines.iter().find(|machine| machine.id == name);
            let id = known.map_or_else(String::new, |machine| machine.container_id.clone());
            let request = StopRequest {
                id,
                signal: None,
                timeout_ms,
                ssh_agent: String::new(),
            };
            async move { Ok(containers.stop(request).await.map(drop)?) }
        })
        .await
    }
}
