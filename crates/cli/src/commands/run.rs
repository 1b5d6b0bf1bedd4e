use clap::Args;
use container_api::api::{StartReply, StartRequest};

use super::creating::{CreationFlags, ImageWords, take_back};
use super::id_file::IdFile;
use super::timeline;
use crate::connection::{Containers, Context};
use crate::failure::Failure;
use crate::output;
use crate::session::{Foreground, Process, Streams};

/// Run a command in a new container
///
/// A virtual machine is booted for the container, which ends with its first process. Its exit code is this
/// command's; 128 and the number of a signal when one ended it.
#[derive(Args, Debug)]
#[command(override_usage = "container run [OPTIONS] <IMAGE> [ARGUMENT]...")]
#[command(after_long_help = "Examples:
  Print a line and leave nothing behind:
    container run --rm busybox echo hello

  A shell at this terminal (Ctrl-P Ctrl-Q leaves it running):
    container run -it --name shell busybox sh

  In the background, with 2 CPUs and 512 MiB:
    container run -d --name web -c 2 -m 512M busybox httpd -f

  Feed standard input:
    printf abc | container run -i --rm busybox cat")]
pub struct Run {
    #[command(flatten)]
    flags: CreationFlags,
    #[command(flatten)]
    pub words: ImageWords,
}

impl Run {
    pub async fn execute(self, context: &Context) -> Result<u8, Failure> {
        let file = IdFile::reserve(self.flags.management.cidfile.as_deref())?;
        let mut containers = context.containers()?;
        let prepared = self.flags.prepare(context, &self.words).await?;
        let id = prepared.id();
        if self.flags.management.detach {
            prepared.create(&mut containers).await?;
            let request = StartRequest {
                id: id.to_owned(),
                stdio: None,
            };
            match containers.start(request).await {
                Ok(reply) => timeline::show(context, reply.get_ref()),
                Err(status) => {
                    take_back(&mut containers, id).await;
                    return Err(status.into());
                }
            }
            IdFile::keep(file, id)?;
            output::write_lines([id])?;
            return Ok(0);
        }
        let process = &self.flags.process;
        let streams = Streams::new(process.interactive, process.tty)
            .map_err(|error| Failure::Local(error.into()))?;
        let mut foreground = Foreground::new(streams)?;
        prepared.create(&mut containers).await?;
        let run = match start(context, &mut foreground, &mut containers, id).await {
            Ok(reply) => reply.run,
            Err(failure) => {
                take_back(&mut containers, id).await;
                return Err(failure);
            }
        };
        IdFile::keep(file, id)?;
        let process = Process {
            id: id.to_owned(),
            process: String::new(),
            run,
        };
        let code = foreground.wait(containers, process).await?;
        timeline::show_end(context);
        Ok(code)
    }
}

/// Starts container `id` with the client's streams; tells whether it was running already, and its run.
pub async fn start(
    context: &Context,
    foreground: &mut Foreground,
    containers: &mut Containers,
    id: &str,
) -> Result<StartReply, Failure> {
    let stdio = foreground
        .lend(&context.roots.apiserver_descriptors())
        .await?;
    let request = StartRequest {
        id: id.to_owned(),
        stdio: Some(stdio),
    };
    let starting = async { Ok(containers.start(request).await?.into_inner()) };
    let reply = foreground.interruptible(starting).await?;
    timeline::show(context, &reply);
    Ok(reply)
}
