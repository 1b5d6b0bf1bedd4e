use clap::Args;

use crate::commands::copy::{Location, Transfer};
use crate::connection::Context;
use crate::failure::Failure;

/// Copy files between a volume and the host, or between two volumes
///
/// Like `container cp`, for volumes. A volume that a running container writes to is read inside that container's machine. To write to a
/// volume, no running container may use it. Prints the path of the copy.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume cp ./seed.sql data:/seed.sql
  container volume cp data:/pg_log .
  container volume cp data:/. copy:/

  As a tar, with owners and modes:
    container volume cp data:/pg_log - | tar t")]
pub struct Copy {
    /// Keep owners, set-id bits and file capabilities. Otherwise a copy from the host belongs to root, one on the host to you, and one in
    /// another volume keeps its owners alone; inside one volume all is kept. On the host only root can keep them. With SOURCE/. the directory of a
    /// volume that takes the contents becomes like SOURCE itself, too
    #[arg(short, long)]
    archive: bool,

    /// Do not print the path of the copy
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
