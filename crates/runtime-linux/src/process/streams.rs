//! The streams of a process between its guest and its clients.

use std::sync::{Arc, OnceLock};

use container_api::Error;
use container_api::guest::CloseOutputRequest;
use container_api::guest_channel::Guest;
use container_api::streams::StandardStream;

use crate::stdio::{Fanout, InputStream};

/// Gives the guest what clients typed or piped in.
pub(super) async fn feed(guest: Guest, process: String, given: InputStream) {
    let data = futures::stream::unfold(given, |mut given| async move {
        let data = given.next().await?;
        Some((data, given))
    });
    // The process may end, or close its input, before it has taken everything.
    if let Err(status) = guest.stdin(&process, data).await {
        tracing::debug!("input ended early: {}", Error::of_guest(status));
    }
}

/// Gives clients what the guest says on `stream`.
pub(super) async fn pump(
    guest: Guest,
    process: String,
    stream: StandardStream,
    fanout: Arc<Fanout>,
    first_byte: Arc<OnceLock<jiff::Timestamp>>,
) {
    match guest.output(stream, &process).await {
        Ok(mut output) => {
            let mut lost = false;
            loop {
                let data = tokio::select! {
                    data = output.next() => data,
                    () = fanout.lost().cancelled(), if !lost => {
                        lost = true;
                        close(&guest, &process, stream).await;
                        continue;
                    }
                };
                let Ok(Some(data)) = data else { break };
                first_byte.get_or_init(jiff::Timestamp::now);
                fanout.write(data).await;
            }
        }
        Err(status) => tracing::warn!("no output stream: {}", Error::of_guest(status)),
    }
    fanout.finish().await;
}

/// Closes an output that nobody reads any more, so that the process learns so as on a pipe.
async fn close(guest: &Guest, process: &str, stream: StandardStream) {
    let request = CloseOutputRequest {
        process: process.to_owned(),
        stderr: stream == StandardStream::Stderr,
    };
    if let Err(status) = guest.calls().close_output(request).await {
        tracing::debug!("cannot close an output: {}", status.message());
    }
}
