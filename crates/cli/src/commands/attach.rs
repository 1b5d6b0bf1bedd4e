use anyhow::Context as _;
use clap::Args;
use container_api::api::AttachRequest;
use container_api::{Error, Kind};

use super::inspect;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::select;
use crate::session::{ClientStdio, Foreground, ProcessRef};

/// Attach to the first process of a running container
///
/// Shows the output of the process from now on, and sends it the standard input of this command. Several clients can be attached at once.
/// Ctrl-P Ctrl-Q detaches the terminal, and the process goes on. The exit code is that of the process.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container attach shell
  container attach --no-stdin web")]
pub struct Attach {
    /// Do not send standard input to the process
    #[arg(long)]
    no_stdin: bool,

    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    id: String,
}

impl Attach {
    pub async fn execute(self, context: &Context) -> Result<u8, Failure> {
        let mut containers = context.containers()?;
        let container = inspect::one(&mut containers, &self.id).await?;
        if !select::is_live(&container) {
            let message = format!("container {} is not running", self.id);
            return Err(Failure::Service(Error::new(Kind::InvalidState, message)));
        }
        let terminal = container.configuration.init_process.terminal;
        let streams = ClientStdio::new(!self.no_stdin, terminal).context("prepare the streams")?;
        let mut foreground = Foreground::onlooker(streams)?;
        let stdio = foreground
            .lend(&context.roots.apiserver_descriptors())
            .await?;
        let request = AttachRequest {
            id: self.id.clone(),
            stdio: Some(stdio),
        };
        let attaching = async { Ok(containers.attach(request).await?) };
        let run = foreground.interruptible(attaching).await?.into_inner().run;
        foreground
            .wait(
                containers,
                ProcessRef {
                    id: self.id,
                    process: String::new(),
                    run,
                },
            )
            .await
    }
}
