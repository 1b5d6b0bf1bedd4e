//! A client of an operation on a container's or a volume's files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use container_api::types::Stdio;
use container_api::{Error, Kind, api, descriptors, volume};
use container_archive::operation::Operation;
use container_resource::volume::VolumeRequest;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::task::JoinHandle;

use super::lifeline::{self, Lifeline};
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Bytes of what an operation says that are shown.
const TEXT_MAX: u64 = 64 << 10;

/// How long this side may take when the other one has failed.
const MOMENT: Duration = Duration::from_secs(1);

/// Whose files an operation is for.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// A container, running or not.
    Container(&'a str),
    /// A volume, whether a container uses it or not.
    Volume {
        /// Its name.
        name: &'a str,
        /// It is made like this where there is none, if the operation succeeds.
        create: Option<&'a VolumeRequest>,
    },
}

impl<'a> Owner<'a> {
    /// A volume that is there.
    pub fn volume(name: &'a str) -> Self {
        Self::Volume { name, create: None }
    }

    /// Its name, or its id.
    pub fn name(self) -> &'a str {
        match self {
            Self::Container(name) | Self::Volume { name, .. } => name,
        }
    }
}

/// What an operation writes to.
#[derive(Debug)]
pub struct Output {
    descriptor: OwnedFd,
    name: String,
}

impl Output {
    /// The file at `path`.
    pub fn file(descriptor: OwnedFd, path: &Path) -> Self {
        let name = path.display().to_string();
        Self { descriptor, name }
    }
}

impl From<OwnedFd> for Output {
    /// Standard output, or a pipe of this process.
    fn from(descriptor: OwnedFd) -> Self {
        let name = "standard output".to_owned();
        Self { descriptor, name }
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
    output: impl Into<Output>,
) -> Result<(), Failure> {
    let Output {
        descriptor: output,
        name: output_name,
    } = output.into();
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
        return Err(lifeline::failure_with_output(failed, &output_name));
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
            let asked = create.map(serde_json::to_vec).transpose()?;
            let request = volume::ArchiveRequest {
                name: name.to_owned(),
                words,
                stdio,
                create: create.is_some(),
                request: asked.unwrap_or_default().into(),
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

/// What this side's `part` of an operation comes to. Where the other side has failed, it may still hold the stream open, and nothing more
/// comes: then this side has a moment to say what is wrong with it.
pub async fn done<T>(part: JoinHandle<T>, other_failed: bool) -> Result<Option<T>, Failure> {
    let joined = if other_failed {
        match tokio::time::timeout(MOMENT, part).await {
            Ok(joined) => joined,
            Err(_) => return Ok(None),
        }
    } else {
        part.await
    };
    joined
        .map(Some)
        .map_err(|error| Failure::Local(error.into()))
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
    // The writer must not wait.
    let _ = io::copy(&mut said, &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}
