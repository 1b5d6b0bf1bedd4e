use clap::Args;
use container_api::api::{StartRequest, StopRequest};
use container_resource::signal;

use crate::connection::Context;
use crate::failure::Failure;
use crate::select::{self, Selection};

/// Stop containers and start them again
///
/// What they wrote stays. One that does not run is started. Prints the ids.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container restart web
  container restart --time 0 web")]
pub struct Restart {
    #[command(flatten)]
    selection: Selection,

    /// Signal to send first (default: the container's stop signal, else SIGTERM)
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal::parse)]
    signal: Option<i32>,

    /// Seconds to wait before killing (default: the container's own, else 5)
    #[arg(short, long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    time: Option<u32>,
}

impl Restart {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        self.selection.check()?;
        let mut containers = context.containers()?;
        let ids = self
            .selection
            .resolve(&mut containers, select::is_running)
            .await?;
        select::for_each(ids, |id| {
            let mut containers = containers.clone();
            let timeout_ms = self.time.map(|seconds| seconds * 1000);
            let stop = StopRequest {
                id: id.clone(),
                signal: self.signal,
                timeout_ms,
            };
            async move {
                containers.stop(stop).await?;
                containers.start(StartRequest { id, stdio: None }).await?;
                Ok(())
            }
        })
        .await
    }
}
