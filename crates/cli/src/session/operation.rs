//! A client of an operation on a container's files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context as _;
use container_api::api::ArchiveRequest;
use container_api::types::Stdio;
use container_api::{Error, Kind, descriptors};
use container_archive::operation::Operation;
use rustix::pipe::{PipeFlags, pipe_with};

use super::lifeline::{self, Lifeline};
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Bytes of what an operation says that are shown.
const TEXT_MAX: u64 = 64 << 10;

/// Does `operation` with the files of the container `id`. It reads `input` and writes `output`, which this process has no
/// part in any more.
///
/// # Errors
/// What the operation says on standard error where it fails, and what became of the streams.
pub async fn operate(
    context: &Context,
    id: &str,
    operation: &Operation,
    input: Option<OwnedFd>,
    output: OwnedFd,
) -> Result<(), Failure> {
    let mut containers = context.containers()?;
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
    let request = ArchiveRequest {
        id: id.to_owned(),
        words: operation.words().into_iter().map(Into::into).collect(),
        stdio: Some(Stdio {
            token,
            stdin,
            stdout: true,
            stderr: true,
            lifeline: true,
            ..Stdio::default()
        }),
    };
    let code = containers.archive(request).await?.into_inner().exit_code;
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
        (_, said) => Err(failure(format!("{id}: {said}"))),
    }
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
