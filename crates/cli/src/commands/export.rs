use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use clap::Args;
use container_archive::operation::Operation;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::PauseFlag;
use crate::output;
use crate::output_file::OutputFile;
use crate::session::{Output, Owner, operate};

/// Write a container's root file system as a tar
///
/// Mounts (volumes, /proc) are not included. A running container is paused while its disk is copied, so that the tar shows the files of one
/// moment. It goes on as soon as the copy is made, even if the tar is read slowly.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container export -o web.tar web
  container export web | container image import - web-flat")]
pub struct Export {
    /// File to write, which appears only when it is complete, or a named pipe (default: standard output)
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    #[command(flatten)]
    still: PauseFlag,

    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    id: String,
}

impl Export {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let operation = Operation::Export {
            still: self.still.pause,
        };
        let owner = Owner::Container(&self.id);
        write(context, owner, &operation, self.output.as_deref()).await
    }
}

/// Has the tar of `operation` written to `path`: whole, or not there; to standard output without one.
pub async fn write(
    context: &Context,
    owner: Owner<'_>,
    operation: &Operation,
    path: Option<&Path>,
) -> Result<(), Failure> {
    let Some(path) = path.filter(|path| !is_standard_output(path)) else {
        let output = output::for_bytes("a tar is not written to a terminal: use --output")?;
        return operate(context, owner, operation, None, output).await;
    };
    let file = OutputFile::open(path)?;
    let output = file.as_fd().try_clone_to_owned();
    let output = output.map_err(|error| Failure::Local(error.into()))?;
    let output = Output::file(output, path);
    operate(context, owner, operation, None, output).await?;
    file.keep()
}

fn is_standard_output(path: &Path) -> bool {
    path == Path::new("-") || OutputFile::is_standard_output(path)
}
