//! `keep-sockets`: what a helper that is shut in has done for it.

use anyhow::Context;
use container_api::inherited;

use crate::tokio_runtime;

pub fn run() -> anyhow::Result<()> {
    tokio_runtime()?.block_on(async {
        let helper = inherited::stdin_socket().context("standard input is no socket")?;
        container_runtime_linux::keep_sockets(helper).await
    })
}
