//! `probe`: what this host starts machines with.

use std::path::Path;

use crate::tokio_runtime;

/// Prints the checks as JSON; slow answers are kept in `cache`.
pub fn run(cache: &Path) -> anyhow::Result<()> {
    let checks = tokio_runtime()?.block_on(container_runtime_linux::probe(cache));
    println!("{}", serde_json::to_string(&checks)?);
    Ok(())
}
