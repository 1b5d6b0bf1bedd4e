//! Word of a process that outlives the one that started it: that it has what it is to keep.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// What it says when it has; anything else is the reason why it has not.
const READY: &[u8] = b"+";

/// Starts `command`, and waits until it is ready. When the child is dropped the process goes on, and is reaped when it ends.
///
/// # Errors
/// When it can't be started, or is not ready; the error says what it said.
pub async fn start(mut command: Command) -> io::Result<Child> {
    // A signal to the group of the network's process is not for it.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut said = Vec::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_end(&mut said).await?;
    }
    if said == READY {
        return Ok(child);
    }
    child.wait().await?;
    Err(io::Error::other(
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

/// Tells whoever started this process what came of it.
///
/// # Errors
/// That of `outcome`, or that nobody can be told.
pub fn say<T>(outcome: io::Result<T>) -> io::Result<T> {
    let mut output = io::stdout();
    match &outcome {
        Ok(_) => output.write_all(READY)?,
        Err(error) => write!(output, "{error}")?,
    }
    output.flush()?;
    // Whoever started it waits for the end of this.
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    outcome
}
