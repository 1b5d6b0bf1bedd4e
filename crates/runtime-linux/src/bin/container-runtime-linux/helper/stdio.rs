//! A client's standard streams, which come on a socket beside the calls.

use std::os::fd::OwnedFd;

use container_api::descriptors::Descriptors;
use container_api::{Error, Kind, types};
use container_runtime_linux::{Stdio, TerminalSize};

/// The descriptors that were handed over for `told`.
///
/// # Errors
/// When none were.
pub fn take(descriptors: &Descriptors, told: Option<types::Stdio>) -> Result<Stdio, Error> {
    let Some(told) = told else {
        return Ok(Stdio::default());
    };
    let size = TerminalSize::told(told.rows, told.columns);
    if told.token.is_empty() {
        return Ok(Stdio {
            size,
            ..Stdio::default()
        });
    }
    let handed_over = descriptors.take(&told.token).ok_or_else(|| {
        Error::new(
            Kind::InvalidArgument,
            "the standard streams were not handed over",
        )
    })?;
    let mut handed_over = handed_over.into_iter();
    let mut next =
        |is_set: bool| -> Option<OwnedFd> { if is_set { handed_over.next() } else { None } };
    Ok(Stdio {
        stdin: next(told.stdin),
        stdout: next(told.stdout),
        stderr: next(told.stderr),
        lifeline: next(told.lifeline),
        size,
    })
}
