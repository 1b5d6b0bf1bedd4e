use clap::Args;
use container_api::api::ExecRequest;
use container_api::types::Stdio;
use container_resource::process::ProcessOptions;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::ProcessFlags;
use crate::output;
use crate::session::{self, ClientStdio, Foreground, ProcessRef};

/// Run another command in a running container
///
/// The command has the container's environment, directory and user, unless options say otherwise. The exit code is that of the command.
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

    /// Give the command every capability, even those that the container does not have
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
        let command = Further {
            id: self.id,
            words: self.words,
            options,
        };
        if self.detach {
            command.begin(context).await?;
            output::write_lines([&command.id])?;
            return Ok(0);
        }
        command.attached(context, self.process.interactive).await
    }
}

/// A process to run beside the first one of a container.
#[derive(Clone, Debug)]
pub struct Further {
    /// The container.
    pub id: String,
    /// Command and arguments.
    pub words: Vec<String>,
    /// What the flags say.
    pub options: ProcessOptions,
}

impl Further {
    fn request(&self, stdio: Option<Stdio>) -> Result<ExecRequest, Failure> {
        Ok(ExecRequest {
            id: self.id.clone(),
            words: self.words.clone(),
            options: serde_json::to_vec(&self.options)?.into(),
            stdio,
        })
    }

    /// Starts it in the background.
    pub async fn begin(&self, context: &Context) -> Result<(), Failure> {
        let request = self.request(session::detached(self.options.terminal))?;
        context.containers()?.exec(request).await?;
        Ok(())
    }

    /// Runs it with this command's streams; gives its exit code.
    pub async fn attached(self, context: &Context, interactive: bool) -> Result<u8, Failure> {
        let mut containers = context.containers()?;
        let streams = ClientStdio::new(interactive, self.options.terminal)
            .map_err(|error| Failure::Local(error.into()))?;
        let mut foreground = Foreground::new(streams)?;
        let stdio = foreground
            .lend(&context.roots.apiserver_descriptors())
            .await?;
        let request = self.request(Some(stdio))?;
        let starting = async { Ok(containers.exec(request).await?.into_inner()) };
        let reply = foreground.interruptible(starting).await?;
        let process = ProcessRef {
            id: self.id,
            process: reply.process,
            run: String::new(),
        };
        foreground.wait(containers, process).await
    }
}
