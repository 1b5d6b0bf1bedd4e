use clap::Args;
use container_api::api::{StartReply, StartRequest};

use super::creating::{CreationFlags, ImageWords, take_back};
use super::id_file::IdFile;
use super::timeline;
use crate::connection::{Containers, Context};
use crate::failure::Failure;
use crate::output;
use crate::session::{self, ClientStdio, Foreground, ProcessRef};

/// Run a command in a new container
///
/// The container has a virtual machine of its own, and ends when its first process ends. The exit code is that of the process, or 128 plus
/// the number of the signal that ended it.
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
        let mut file = IdFile::reserve(self.flags.management.cidfile.as_deref())?;
        let mut containers = context.containers()?;
        let prepared = self.flags.prepare(context, &self.words).await?;
        let id = prepared.id();
        if self.flags.management.detach {
            prepared.create(&mut containers).await?;
            write_id(&mut file, &mut containers, id).await?;
            let request = StartRequest {
                id: id.to_owned(),
                stdio: session::detached(self.flags.process.tty),
                ssh_agent: session::ssh_agent(),
            };
            match containers.start(request).await {
                Ok(reply) => {
                    timeline::warn(reply.get_ref());
                    timeline::show(context, reply.get_ref());
                }
                Err(status) => {
                    take_back(&mut containers, id).await;
                    return Err(status.into());
                }
            }
            IdFile::keep(file);
            tell_id(id, "runs")?;
            return Ok(0);
        }
        let process = &self.flags.process;
        let streams = ClientStdio::new(process.interactive, process.tty)
            .map_err(|error| Failure::Local(error.into()))?;
        let mut foreground = Foreground::new(streams)?;
        prepared.create(&mut containers).await?;
        write_id(&mut file, &mut containers, id).await?;
        let run = match start(context, &mut foreground, &mut containers, id).await {
            Ok(reply) => reply.run,
            Err(failure) => {
                take_back(&mut containers, id).await;
                return Err(failure);
            }
        };
        IdFile::keep(file);
        let process = ProcessRef {
            id: id.to_owned(),
            process: String::new(),
            run,
        };
        let code = foreground.wait(containers, process).await?;
        timeline::show_end(context);
        Ok(code)
    }
}

/// Writes the id of a container that was created to its file. Where that fails, nothing is left of it.
pub async fn write_id(
    file: &mut Option<IdFile>,
    containers: &mut Containers,
    id: &str,
) -> Result<(), Failure> {
    let written = file.as_mut().map_or(Ok(()), |file| file.write(id));
    if written.is_err() {
        take_back(containers, id).await;
    }
    written
}

/// Prints the id of a container. Where that fails, it is told on standard error what the container `does` nevertheless.
pub fn tell_id(id: &str, does: &str) -> Result<(), Failure> {
    let printed = output::write_lines([id]);
    if printed.is_err() {
        output::tell(format_args!("container {id} {does}"));
    }
    printed
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
        ssh_agent: session::ssh_agent(),
    };
    let starting = async { Ok(containers.start(request).await?.into_inner()) };
    let reply = foreground.interruptible(starting).await?;
    timeline::warn(&reply);
    timeline::show(context, &reply);
    Ok(reply)
}
