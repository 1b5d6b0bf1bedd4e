//! `cp`.

mod host;
mod location;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use clap::Args;
use container_archive::operation::Operation;
use container_archive::place;

use self::location::Location;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;
use crate::session::{operate, pipe};

/// Bytes of the path that a container says it has copied to.
const PATH_MAX: u64 = 64 << 10;

/// Copy files between a container, running or not, and the host, or another container
///
/// A directory is copied with what is in it: into a directory that exists, or to become one that does not; of one that is written
/// with /. at the end, only what is in it. A link that SOURCE names is followed; those below it stay links. With - for SOURCE or DESTINATION a tar comes from standard input, or goes to standard output,
/// with its owners and modes. Prints where the copy is.
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
    #[arg(value_name = "SOURCE")]
    source: Location,

    /// <container>:<path>, a path of the host, or - for a tar on standard output
    #[arg(value_name = "DESTINATION")]
    destination: Location,
}

impl Copy {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let archive = self.archive;
        let shown = match (&self.source, &self.destination) {
            (Location::Container { id, path }, Location::Stream) => {
                if io::stdout().is_terminal() {
                    return Err(Failure::usage("a tar is not written to a terminal"));
                }
                let output = io::stdout().as_fd().try_clone_to_owned();
                let output = output.map_err(|error| Failure::Local(error.into()))?;
                let operation = Operation::Read { path: path.clone() };
                operate(context, id, &operation, None, output).await?;
                return Ok(());
            }
            (Location::Stream, Location::Container { id, path }) => {
                if io::stdin().is_terminal() {
                    return Err(Failure::usage("a tar is expected on standard input"));
                }
                let (said, output) = pipe()?;
                let operation = Operation::Extract { path: path.clone() };
                let input = io::stdin().as_fd().try_clone_to_owned();
                let input = input.map_err(|error| Failure::Local(error.into()))?;
                operate(context, id, &operation, Some(input), output).await?;
                drop(said);
                return Ok(());
            }
            (Location::Host(from), Location::Container { id, path }) => {
                let source = host::Source::find(from)?;
                let (input, tar) = pipe()?;
                let name = source.name.clone();
                let packed = tokio::task::spawn_blocking(move || source.pack(tar, archive));
                let written = write(context, id, path, name, archive, input).await;
                match packed.await.map_err(|error| Failure::Local(error.into()))? {
                    // What went wrong on the other side is what there is to tell.
                    Err(failure) if !matches!(failure, Failure::BrokenPipe) => return Err(failure),
                    _ => format!("{id}:{}", written?),
                }
            }
            (Location::Container { id, path }, Location::Host(to)) => {
                let (tar, output) = pipe()?;
                let operation = Operation::Read { path: path.clone() };
                let (to, from) = (to.clone(), path.clone());
                let unpacked = tokio::task::spawn_blocking(move || {
                    host::unpack(tar, place::name(&from), &to, archive)
                });
                let read = operate(context, id, &operation, None, output).await;
                let unpacked = unpacked
                    .await
                    .map_err(|error| Failure::Local(error.into()))?;
                match (unpacked, read) {
                    // A stream that ends is no reason: whoever ended it has one.
                    (Err(host::Unpacked::Cut(_)), Err(failure)) => return Err(failure),
                    (unpacked, read) => {
                        let path = unpacked.map_err(host::Unpacked::into_failure)?;
                        read?;
                        path
                    }
                }
            }
            (
                Location::Container { id, path },
                Location::Container {
                    id: other,
                    path: to,
                },
            ) => {
                let (tar, output) = pipe()?;
                let operation = Operation::Read { path: path.clone() };
                let name = place::name(path).map(ToOwned::to_owned);
                let (read, written) = tokio::join!(
                    operate(context, id, &operation, None, output),
                    write(context, other, to, name, true, tar)
                );
                match read {
                    Err(failure) if !matches!(failure, Failure::BrokenPipe) => return Err(failure),
                    _ => format!("{other}:{}", written?),
                }
            }
            _ => {
                return Err(Failure::usage(
                    "one of SOURCE and DESTINATION must be <container>:<path>",
                ));
            }
        };
        if self.quiet {
            return Ok(());
        }
        output::write_lines([shown])
    }
}

/// Has the tree that `input` reads put at `path` of the container `id`, called `name`; gives where it is.
async fn write(
    context: &Context,
    id: &str,
    path: &Path,
    name: Option<OsString>,
    owners: bool,
    input: OwnedFd,
) -> Result<String, Failure> {
    let (said, output) = pipe()?;
    let operation = Operation::Write {
        path: PathBuf::from(path),
        name,
        owners,
    };
    let said = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let _ = File::from(said).take(PATH_MAX).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    operate(context, id, &operation, Some(input), output).await?;
    Ok(said.await.unwrap_or_default())
}
