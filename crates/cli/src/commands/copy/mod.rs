//! `cp`.

mod host;
mod location;
mod room;
mod transfer;

use clap::Args;

pub use self::location::Location;
pub use self::transfer::Transfer;
use crate::connection::Context;
use crate::failure::Failure;

/// Copy files between a container, running or not, and the host, or another container
///
/// A directory is copied with what is in it: into a directory that exists, or to become one that does not; of one that is written
/// with /. at the end, only what is in it. A link that SOURCE names is followed; those below it stay links. With - for SOURCE or DESTINATION a tar comes from standard input, compressed with gzip, zstd, xz, bzip2 or not,
/// or goes to standard output, with its owners and modes. Prints where the copy is.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container cp web:/etc/nginx/nginx.conf .
  container cp ./site/. web:/usr/share/nginx/html
  container cp web:/data backup:/data

  As a tar, with owners and modes:
    container cp web:/var/log - | tar t
    tar -c --owner=33 -C site . | container cp - web:/srv")]
pub struct Copy {
    /// Keep owners. Otherwise a copy belongs to root in a container, and to the user on the host, without set-id bits. On the host only
    /// root can do this: set-id files and file capabilities of the container are then made there, too
    #[arg(short, long)]
    archive: bool,

    /// As always: a link that SOURCE names is followed
    #[arg(short = 'L', long, hide = true)]
    follow_link: bool,

    /// Do not print where the copy is
    #[arg(short, long)]
    quiet: bool,

    /// <container>:<path>, a path of the host, or - for a tar on standard input
    #[arg(value_name = "SOURCE", value_parser = Location::parser())]
    source: Location,

    /// <container>:<path>, a path of the host, or - for a tar on standard output
    #[arg(value_name = "DESTINATION", value_parser = Location::parser())]
    destination: Location,
}

impl Copy {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let transfer = Transfer {
            volumes: false,
            archive: self.archive,
            quiet: self.quiet,
            source: self.source,
            destination: self.destination,
        };
        transfer.execute(context).await
    }
}
