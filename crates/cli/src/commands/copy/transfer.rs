//! What `cp` and `volume cp` do.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use container_archive::operation::{Kept, Operation};
use container_archive::place;

use super::host;
use super::location::Location;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;
use crate::session::{Owner, done, operate, operate_on_tar, pipe};

/// Bytes of the path that a guest says it has copied to.
const PATH_MAX: u64 = 64 << 10;

/// One copy.
#[derive(Debug)]
pub struct Transfer {
    /// Names before a colon are volumes'; containers' otherwise.
    pub volumes: bool,
    /// Owners are kept.
    pub archive: bool,
    /// Nothing is printed.
    pub quiet: bool,
    /// From.
    pub source: Location,
    /// To.
    pub destination: Location,
}

impl Transfer {
    /// Makes the copy, and prints where it is.
    pub async fn execute(&self, context: &Context) -> Result<(), Failure> {
        for operand in [&self.source, &self.destination] {
            if let Some(problem) = operand.problem() {
                return Err(Failure::usage(problem));
            }
        }
        let archive = self.archive;
        let shown = match (&self.source, &self.destination) {
            (Location::Inside { id, path }, Location::Stream) => {
                let output = output::for_bytes("a tar is not written to a terminal")?;
                let operation = Operation::Read { path: path.clone() };
                operate(context, self.owner(id), &operation, None, output).await?;
                return Ok(());
            }
            (Location::Stream, Location::Inside { id, path }) => {
                if io::stdin().is_terminal() {
                    return Err(Failure::usage("a tar is expected on standard input"));
                }
                let (said, output) = pipe()?;
                let operation = Operation::Extract { path: path.clone() };
                let input = io::stdin().as_fd().try_clone_to_owned();
                let input = input.map_err(|error| Failure::Local(error.into()))?;
                let owner = self.owner(id);
                operate_on_tar(context, owner, &operation, input, "standard input", output).await?;
                drop(said);
                return Ok(());
            }
            (Location::Host(from), Location::Inside { id, path }) => {
                let source = host::Source::find(from)?;
                let (input, tar) = pipe()?;
                let name = source.name.clone();
                let kept = if archive {
                    Kept::Everything
                } else {
                    Kept::Nothing
                };
                let packed = tokio::task::spawn_blocking(move || source.pack(tar, archive));
                let written = write(context, self.owner(id), path, name, kept, input).await;
                match done(packed, written.is_err()).await? {
                    // The failure of the other side is the one to report.
                    Some(Err(failure)) if !matches!(failure, Failure::BrokenPipe) => {
                        return Err(failure);
                    }
                    _ => format!("{id}:{}", written?),
                }
            }
            (Location::Inside { id, path }, Location::Host(to)) => {
                let (tar, output) = pipe()?;
                let operation = Operation::Read { path: path.clone() };
                let (to, from) = (to.clone(), path.clone());
                let unpacked = tokio::task::spawn_blocking(move || {
                    host::unpack(tar, place::name(&from), &to, archive)
                });
                let read = operate(context, self.owner(id), &operation, None, output).await;
                match (done(unpacked, read.is_err()).await?, read) {
                    // The end of a stream is no reason: the side that ended it has one.
                    (None, Err(failure)) => return Err(failure),
                    (Some(Err(host::Unpacked::Cut(_))), Err(failure))
                        if !matches!(failure, Failure::BrokenPipe) =>
                    {
                        return Err(failure);
                    }
                    (None, Ok(())) => unreachable!("what was done is waited for to its end"),
                    (Some(unpacked), read) => {
                        let path = unpacked.map_err(host::Unpacked::into_failure)?;
                        read?;
                        path
                    }
                }
            }
            (
                Location::Inside { id, path },
                Location::Inside {
                    id: other,
                    path: to,
                },
            ) if id == other => {
                // One machine has a volume.
                let operation = Operation::Copy {
                    from: path.clone(),
                    to: to.clone(),
                    top: archive,
                };
                format!(
                    "{id}:{}",
                    said(context, self.owner(id), &operation, None).await?
                )
            }
            (
                Location::Inside { id, path },
                Location::Inside {
                    id: other,
                    path: to,
                },
            ) => {
                let (tar, output) = pipe()?;
                let operation = Operation::Read { path: path.clone() };
                let name = place::name(path).map(ToOwned::to_owned);
                // Users of both have the same numbers; a program that the one has made privileged is not so in the other for that.
                let kept = if archive {
                    Kept::Everything
                } else {
                    Kept::Owners
                };
                let (read, written) = tokio::join!(
                    operate(context, self.owner(id), &operation, None, output),
                    write(context, self.owner(other), to, name, kept, tar)
                );
                match read {
                    Err(failure) if !matches!(failure, Failure::BrokenPipe) => return Err(failure),
                    _ => format!("{other}:{}", written?),
                }
            }
            _ => {
                let kind = if self.volumes { "volume" } else { "container" };
                return Err(Failure::usage(format!(
                    "one of SOURCE and DESTINATION must be <{kind}>:<path>"
                )));
            }
        };
        // Where the copy itself went to standard output, nothing else does.
        if self.quiet || matches!(&self.destination, Location::Host(path) if is_output(path)) {
            return Ok(());
        }
        output::write_lines([shown])
    }

    fn owner<'a>(&self, name: &'a str) -> Owner<'a> {
        if self.volumes {
            Owner::volume(name)
        } else {
            Owner::Container(name)
        }
    }
}

/// Whether `path` leads to the standard output (`/dev/stdout`).
fn is_output(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let output = io::stdout().as_fd().try_clone_to_owned();
    let output = output.and_then(|output| File::from(output).metadata());
    let identity =
        |found: io::Result<std::fs::Metadata>| found.map(|found| (found.dev(), found.ino()));
    matches!((identity(output), identity(path.metadata())), (Ok(a), Ok(b)) if a == b)
}

/// Has the tree that `input` reads put at `path` of `owner`, called `name`; gives where it is.
async fn write(
    context: &Context,
    owner: Owner<'_>,
    path: &Path,
    name: Option<OsString>,
    kept: Kept,
    input: OwnedFd,
) -> Result<String, Failure> {
    let operation = Operation::Write {
        path: PathBuf::from(path),
        name,
        kept,
    };
    said(context, owner, &operation, Some(input)).await
}

/// What `operation` says on its standard output.
async fn said(
    context: &Context,
    owner: Owner<'_>,
    operation: &Operation,
    input: Option<OwnedFd>,
) -> Result<String, Failure> {
    let (said, output) = pipe()?;
    let said = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let _ = File::from(said).take(PATH_MAX).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    operate(context, owner, operation, input, output).await?;
    Ok(said.await.unwrap_or_default())
}
