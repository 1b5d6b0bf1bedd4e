//! `make-template`: a machine is booted and saved.

use anyhow::Context;

use crate::tokio_runtime;

/// Makes the template that the request on standard input asks for.
pub fn run() -> anyhow::Result<()> {
    let request = serde_json::from_reader(std::io::stdin().lock()).context("read the request")?;
    tokio_runtime()?
        .block_on(container_runtime_linux::make_template(&request))
        .context("make a template")
}
