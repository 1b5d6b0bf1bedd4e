use clap::Args;
use container_api::api::StopRequest;
use container_resource::signal;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{Grace, parse_grace};
use crate::select::{self, Selection};

/// Stop containers
///
/// Sends the stop signal, and kills a container that has not stopped in time. Stopped containers are left as they are. Prints the ids.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  Give it half a minute:
    container stop --time 30 web

  Everything that runs:
    container stop --all")]
pub struct Stop {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    flags: StopFlags,
}

/// How containers are stopped.
#[derive(Args, Debug)]
pub struct StopFlags {
    /// Signal to send first (default: the container's stop signal, else SIGTERM)
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal::parse)]
    signal: Option<i32>,

    /// Seconds to wait before killing (default: the container's own, else 5; -1: no limit)
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", allow_negative_numbers = true,
          value_parser = parse_grace)]
    time: Option<Grace>,
}

impl StopFlags {
    /// The request to stop the container `id` so.
    pub fn request(&self, id: String) -> StopRequest {
        StopRequest {
            id,
            signal: self.signal,
            timeout_ms: self.time.map(Grace::milliseconds),
            ssh_agent: String::new(),
        }
    }
}

impl Stop {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        self.selection.check()?;
        let mut containers = context.containers()?;
        let ids = self
            .selection
            .resolve(&mut containers, select::is_live)
            .await?;
        select::for_each(ids, |id| {
            let mut containers = containers.clone();
            let request = self.flags.request(id);
            async move { Ok(containers.stop(request).await.map(drop)?) }
        })
        .await
    }
}
