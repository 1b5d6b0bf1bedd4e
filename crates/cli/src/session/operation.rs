//! A client of an operation on a container's or a volume's files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context as _;
use container_api::types::Stdio;
use container_api::{Error, Kind, api, descriptors, volume};
use container_archive::operation::Operation;
use rustix::pipe::{PipeFlags, pipe_with};

use super::lifeline::{self, Lifeline};
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Bytes of what an operation says that are shown.
const TEXT_MAX: u64 = 64 << 10;

/// Whose files an operation is for.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// A container, running or not.
    Container(&'a str),
    /// A volume, whoever has it.
    Volume {
        /// Its name.
        name: &'a str,
        /// It is made where there is none, if the operation succeeds.
        create: bool,
    },
}

impl<'a> Owner<'a> {
    /// A volume that is there.
    pub fn volume(name: &'a str) -> Self {
        Self::Volume {
            name,
            create: false,
        }
    }

    /// Its name, or its id.
    pub fn name(self) -> &'a str {
        match self {
            Self::Container(name) | Self::Volume { name, .. } => name,
        }
    }
}

/// Does `operation` with the files of `owner`. It reads `input` and writes `output`, which this process has no
/// part in any more.
///
/// # Errors
/// What the operation says on standard error where it fails, and what became of the streams.
pub async fn operate(
    context: &Context,
    owner: Owner<'_>,
    operation: &Operation,
    input: Option<OwnedFd>,
    output: OwnedFd,
) -> Result<(), Failure> {
    let mut lifeline = Lifeline::new().map_err(|error| Failure::Local(error.into()))?;
    let (said, errors) = pipe()?;
    let token = {
        let theirs = lifeline
            .lend()
            .map_err(|error| Failure::Local(error.into()))?;
        let mut lent = Vec::with_capacity(4);
        lent.extend(input.as_ref().map(AsFd::as_fd));
        lent.extend([output.as_fd(), errors.as_fd(), theirs.as_fd()]);
        let socket = context.roots.apiserver_descriptors();
        let handed = descriptors::send(&socket, &lent).await;
        handed.context("cannot hand the streams to the container")?
    };
    let stdin = input.is_some();
    drop((input, output, errors));
    let said = tokio::task::spawn_blocking(move || text(said));
    let stdio = Some(Stdio {
        token,
        stdin,
        stdout: true,
        stderr: true,
        lifeline: true,
        ..Stdio::default()
    });
    let code = ask(context, owner, operation, stdio).await?;
    if let Some(failed) = lifeline.told() {
        return Err(lifeline::failure(failed));
    }
    let said = said.await.unwrap_or_default();
    let said = said.trim();
    match (code, said) {
        (0, "") => Ok(()),
        (0, said) => {
            output::tell_lines(format_args!("Warning: {said}"));
            Ok(())
        }
        (code, "") => Err(failure(format!(
            "the operation on the files ended with {code}"
        ))),
        (_, said) => Err(failure(format!("{}: {said}", owner.name()))),
    }
}

/// Has the operation done; gives its exit code.
async fn ask(
    context: &Context,
    owner: Owner<'_>,
    operation: &Operation,
    stdio: Option<Stdio>,
) -> Result<i32, Failure> {
    let words = operation.words().into_iter().map(Into::into).collect();
    let reply = match owner {
        Owner::Container(id) => {
            let id = id.to_owned();
            let request = api::ArchiveRequest { id, words, stdio };
            let reply = context.containers()?.archive(request).await?;
            reply.into_inner().exit_code
        }
        Owner::Volume { name, create } => {
            let request = volume::ArchiveRequest {
                name: name.to_owned(),
                words,
                stdio,
                create,
            };
            let reply = context.volumes()?.archive(request).await?;
            reply.into_inner().exit_code
        }
    };
    Ok(reply)
}

fn failure(message: String) -> Failure {
    Failure::Service(Error::new(Kind::Internal, message))
}

/// Both ends of a pipe.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    let ends = pipe_with(PipeFlags::CLOEXEC);
    Ok(ends
        .map_err(io::Error::from)
        .context("cannot make a pipe")?)
}

/// What comes, up to its end.
fn text(said: OwnedFd) -> String {
    let mut said = File::from(said);
    let mut bytes = Vec::new();
    let _ = said.by_ref().take(TEXT_MAX).read_to_end(&mut bytes);
    // Whoever writes is not to wait.
    let _ = io::copy(&mut said, &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}
