use std::time::Duration;

use clap::Args;
use container_api::api::{SignalRequest, WaitRequest};
use container_resource::signal;

use crate::connection::Context;
use crate::failure::Failure;
use crate::select::{self, Selection};

/// `signal(7)`.
const SIGKILL: i32 = 9;
/// How long a killed container may take to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Send a signal to containers
///
/// The signal goes to the first process of each container. With KILL, the default, the command ends when the containers have stopped.
/// Prints the ids.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container kill web
  container kill --signal HUP web")]
pub struct Kill {
    #[command(flatten)]
    selection: Selection,

    /// Signal to send, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = signal_or_kill)]
    signal: i32,
}

/// As with Docker an empty text is the default.
fn signal_or_kill(text: &str) -> Result<i32, signal::SignalError> {
    match text {
        "" => Ok(SIGKILL),
        text => signal::parse(text),
    }
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
            let signal = self.signal;
            async move {
                let process = String::new();
                containers
                    .signal(SignalRequest {
                        id: id.clone(),
                        process,
                        signal,
                    })
                    .await?;
                if signal == SIGKILL {
                    let ended = containers.wait(WaitRequest {
                        id,
                        ..WaitRequest::default()
                    });
                    // Gone for good (--rm), or too slow to wait for: it is on its way either way.
                    let _ = tokio::time::timeout(PATIENCE, ended).await;
                }
                Ok(())
            }
        })
        .await
    }
}
