use clap::Args;
use container_api::api::SignalRequest;
use container_resource::signal;

use crate::connection::Context;
use crate::failure::Failure;
use crate::select::{self, Selection};

/// Send a signal to containers
///
/// To the first process of each. Prints the ids.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container kill web
  container kill --signal HUP web")]
pub struct Kill {
    #[command(flatten)]
    selection: Selection,

    /// Signal to send, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = signal::parse)]
    signal: i32,
}

impl Kill {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        self.selection.check()?;
        let mut containers = context.containers()?;
        let ids = self
            .selection
            .resolve(&mut containers, select::is_running)
            .await?;
        select::for_each(ids, |id| {
            let mut containers = containers.clone();
            let request = SignalRequest {
                id,
                process: String::new(),
                signal: self.signal,
            };
            async move { Ok(containers.signal(request).await.map(drop)?) }
        })
        .await
    }
}
