use clap::Args;
use container_api::api::StartRequest;
use container_api::{Error, Kind};

use super::{inspect, run, timeline};
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;
use crate::select;
use crate::session::{self, ClientStdio, Foreground, ProcessRef};

/// Start stopped containers
///
/// One after the other; prints the ids. With --attach, which is for one container, the command waits until the first process ends; the
/// exit code is that of the process.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  Start in the background:
    container start web db

  Start with this terminal as its standard input and output:
    container start -ai shell")]
pub struct Start {
    /// Wait, and show the output of the container's first process
    #[arg(short, long)]
    attach: bool,

    /// Send standard input to the container's first process
    #[arg(short, long)]
    interactive: bool,

    /// Containers
    #[arg(value_name = "CONTAINER", required = true, add = completion::containers())]
    ids: Vec<String>,
}

impl Start {
    pub async fn execute(self, context: &Context) -> Result<u8, Failure> {
        let mut containers = context.containers()?;
        if !(self.attach || self.interactive) {
            // In their order: one may need what the one before serves.
            let mut failures = Vec::new();
            for id in self.ids {
                let request = StartRequest {
                    id: id.clone(),
                    stdio: session::detached(true),
                    ssh_agent: session::ssh_agent(),
                };
                match containers.start(request).await {
                    Ok(reply) => {
                        timeline::warn(reply.get_ref());
                        output::write_lines([&id])?;
                    }
                    Err(status) => failures.push(status.into()),
                }
            }
            Failure::gather(failures)?;
            return Ok(0);
        }
        let Ok([id]) = <[String; 1]>::try_from(self.ids) else {
            return Err(Failure::usage(
                "--attach and --interactive are for one container: its standard streams are this command's",
            ));
        };
        let container = inspect::one(&mut containers, &id).await?;
        if select::is_running(&container) {
            return Err(running(&id));
        }
        let terminal = container.configuration.init_process.terminal;
        let streams = ClientStdio::new(self.interactive, terminal)
            .map_err(|error| Failure::Local(error.into()))?;
        let mut foreground = Foreground::new(streams)?;
        let reply = run::start(context, &mut foreground, &mut containers, &id).await?;
        if reply.already_running {
            return Err(running(&id));
        }
        let process = ProcessRef {
            id,
            process: String::new(),
            run: reply.run,
        };
        let code = foreground.wait(containers, process).await?;
        timeline::show_end(context);
        Ok(code)
    }
}

fn running(id: &str) -> Failure {
    let message = "attach is currently unsupported on already running containers";
    let hint = format!("Attach to it with `container attach {id}`.");
    Failure::Service(Error::new(Kind::InvalidState, message).with_hint(hint))
}
