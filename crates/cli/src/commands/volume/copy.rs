use clap::Args;

use crate::commands::copy::{Location, Transfer};
use crate::connection::Context;
use crate::failure::Failure;

/// Copy files between a volume and the host, or another volume
///
/// It is `container cp` for volumes, whether a container has them or not: of one that a running container writes to, in that container's
/// machine. What is written to needs the volume alone. Prints where the copy is.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume cp ./seed.sql data:/seed.sql
  container volume cp data:/pg_log .
  container volume cp data:/. copy:/

  As a tar, with owners and modes:
    container volume cp data:/pg_log - | tar t")]
pub struct Copy {
    /// Keep owners. Otherwise a copy belongs to root in a volume, and to the user on the host, without set-id bits. On the host only
    /// root can do this
    #[arg(short, long)]
    archive: bool,

    /// Do not print where the copy is
    #[arg(short, long)]
    quiet: bool,

    /// <volume>:<path>, a path of the host, or - for a tar on standard input
    #[arg(value_name = "SOURCE", value_parser = Location::parser())]
    source: Location,

    /// <volume>:<path>, a path of the host, or - for a tar on standard output
    #[arg(value_name = "DESTINATION", value_parser = Location::parser())]
    destination: Location,
}

impl Copy {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let transfer = Transfer {
            volumes: true,
            archive: self.archive,
            quiet: self.quiet,
            source: self.source,
            destination: self.destination,
        };
        transfer.execute(context).await
    }
}
