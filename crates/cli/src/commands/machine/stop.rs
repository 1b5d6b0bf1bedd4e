use clap::Args;
use container_api::api::StopRequest;

use super::one;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{Grace, parse_grace};
use crate::output;

/// Shut machines down
///
/// One that has not done so in time is switched off. One that does not run is left as it is. Prints the name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine stop
  container machine stop --time 60 dev")]
pub struct Stop {
    /// Machine (default: the default one)
    #[arg(value_name = "MACHINE", add = completion::machines())]
    id: Option<String>,

    /// Seconds that it has to shut down (default: 10; -1: as long as it takes)
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_grace)]
    time: Option<Grace>,
}

impl Stop {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let machine = one(context, self.id.as_deref()).await?;
        let request = StopRequest {
            id: machine.container_id,
            signal: None,
            timeout_ms: self.time.map(Grace::milliseconds),
            ssh_agent: String::new(),
        };
        context.containers()?.stop(request).await?;
        output::write_lines([machine.id])
    }
}
