//! `keep-sockets`: what a helper that is shut in has done for it.

use anyhow::Context;
use container_api::inherited;

use crate::tokio_runtime;

pub fn run() -> anyhow::Result<()> {
    let runtime = tokio_runtime()?;
    let kept = runtime.block_on(async {
        let helper = inherited::stdin_socket().context("standard input is no socket")?;
        container_runtime_linux::keep_sockets(helper).await
    });
    // What hangs in a file system of the host is not waited for.
    runtime.shutdown_background();
    kept
}
