//! `make-template`: a machine is booted and saved.

use anyhow::Context;
use container_api::{handover, inherited};
use container_runtime_linux::{TemplateRequest, make_template};

use crate::tokio_runtime;

/// Makes the template that the request on standard input, a socket, asks for.
pub fn run() -> anyhow::Result<()> {
    tokio_runtime()?.block_on(async {
        let mut stream = inherited::stdin_socket().context("standard input is no socket")?;
        // The taps of its interfaces travel beside it.
        let request = handover::receive::<TemplateRequest>(&mut stream).await;
        let (request, taps) = request
            .context("read the request")?
            .context("there is no request")?;
        let made = make_template(&request, taps).await;
        made.context("make a template")
    })
}
