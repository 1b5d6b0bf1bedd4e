use std::path::PathBuf;

use clap::Args;
use container_archive::operation::Operation;

use crate::commands::export::write;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::PauseFlag;
use crate::session::Owner;

/// Write a volume's files as a tar
///
/// The tar has owners, modes, attributes, links, pipes and holes; `volume import` reads it. A container that writes to the volume waits
/// while the disk is copied, so that the tar shows the files of one moment. Then it goes on.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume export -o data.tar data
  container volume export data | zstd >data.tar.zst")]
#[command(mut_arg("pause", |flag| flag.help("Copy the disk first, and let writers wait meanwhile")))]
pub struct Export {
    /// File to write, which appears only when it is complete, or a named pipe (default, and -: standard output)
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    #[command(flatten)]
    still: PauseFlag,

    /// Volume
    #[arg(value_name = "VOLUME", add = completion::volumes())]
    name: String,
}

impl Export {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let operation = Operation::Export {
            still: self.still.pause,
        };
        let owner = Owner::volume(&self.name);
        write(context, owner, &operation, self.output.as_deref()).await
    }
}
