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

/// Copy files between a container and the host, or between two containers
///
/// A container may be running or stopped. A directory is copied with its contents. If DESTINATION exists, the copy is put inside it;
/// otherwise the copy gets that name. SOURCE/. copies the contents alone. A link that SOURCE names is followed; links below it stay links.
/// If SOURCE is -, a tar is read from standard input; it may be compressed with gzip, zstd, xz or bzip2. If DESTINATION is -, a tar is
/// written to standard output. A tar keeps owners and modes. Prints the path of the copy.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container cp web:/etc/nginx/nginx.conf .
  container cp ./site/. web:/usr/share/nginx/html
  container cp web:/data backup:/data

  As a tar, with owners and modes:
    container cp web:/var/log - | tar t
    tar -c --owner=33 -C site . | container cp - web:/srv")]
pub struct Copy {
    /// Keep owners, set-id bits and file capabilities. Otherwise a copy from the host belongs to root, one on the host to you, and one in
    /// another container keeps its owners alone; inside one container all is kept. On the host only root can keep them. With SOURCE/. the directory of a
    /// container that takes the contents becomes like SOURCE itself, too
    #[arg(short, long)]
    archive: bool,

    /// As always: a link that SOURCE names is followed
    #[arg(short = 'L', long, hide = true)]
    follow_link: bool,

    /// Do not print the path of the copy
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
