use clap::Args;
use container_api::api::ExecRequest;
use container_api::types::Stdio;
use container_resource::process::ProcessOptions;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::ProcessFlags;
use crate::output;
use crate::session::{self, Foreground, Process, Streams};

/// Run a further command in a running container
///
/// With the container's environment, directory and user, unless the options say otherwise. Its exit code is this
/// command's.
#[derive(Args, Debug)]
#[command(override_usage = "container exec [OPTIONS] <CONTAINER> <COMMAND> [ARGUMENT]...")]
#[command(after_long_help = "Examples:
  A shell:
    container exec -it web sh

  In the background:
    container exec -d web touch /tmp/mark")]
pub struct Exec {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,

    /// Give the command every capability, whatever the container has
    #[arg(long)]
    privileged: bool,

    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    id: String,

    /// Command and arguments
    #[arg(value_name = "COMMAND [ARGUMENT]", required = true, num_args = 1.., trailing_var_arg = true)]
    words: Vec<String>,

    #[command(flatten)]
    process: ProcessFlags,
}

impl Exec {
    pub async fn execute(self, context: &Context) -> Result<u8, Failure> {
        let options = ProcessOptions {
            privileged: self.privileged,
            ..self.process.options()?
        };
        let mut containers = context.containers()?;
        let options = serde_json::to_vec(&options)?;
        let request = |stdio: Option<Stdio>| ExecRequest {
            id: self.id.clone(),
            words: self.words.clone(),
            options: options.clone().into(),
            stdio,
        };
        if self.detach {
            let stdio = session::detached(self.process.tty);
            containers.exec(request(stdio)).await?;
            output::write_lines([&self.id])?;
            return Ok(0);
        }
        let streams = Streams::new(self.process.interactive, self.process.tty)
            .map_err(|error| Failure::Local(error.into()))?;
        let mut foreground = Foreground::new(streams)?;
        let stdio = foreground
            .lend(&context.roots.apiserver_descriptors())
            .await?;
        let starting = async { Ok(containers.exec(request(Some(stdio))).await?.into_inner()) };
        let reply = foreground.interruptible(starting).await?;
        let process = Process {
            id: self.id.clone(),
            process: reply.process,
            run: String::new(),
        };
        foreground.wait(containers, process).await
    }
}
