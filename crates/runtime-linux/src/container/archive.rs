//! Operations on the container's files.

use std::sync::Arc;

use bytes::Bytes;
use container_api::guest::ArchiveRequest;
use container_api::{Error, Kind};

use super::Container;
use crate::process::Process;
use crate::stdio::Stdio;

impl Container {
    /// Begins the operation on the container's files that `words` ask for, under the name `id`. It is waited for as a process is.
    ///
    /// # Errors
    /// When the container's machine does not run, or its guest does not begin.
    pub async fn archive(
        self: &Arc<Self>,
        id: &str,
        words: Vec<Bytes>,
        stdio: Stdio,
    ) -> Result<(), Error> {
        let guest = self.guest()?;
        let input = stdio.stdin.is_some();
        let request = ArchiveRequest {
            process: id.to_owned(),
            words,
        };
        self.ask(guest.calls().archive(request)).await?;
        let followed = Process::follow(&guest, id, false, input, stdio, None)
            .await
            .map_err(|error| {
                Error::caused(Kind::Internal, error).context("connect the operation")
            })?;
        self.remember(id, followed.clone());
        tokio::spawn(give_up(self.clone(), followed));
        Ok(())
    }
}

/// Gives `operation` up when the host has no room for it, of which whoever waits for it is told, and when its client has gone: what it
/// was to read comes from nobody else.
async fn give_up(container: Arc<Container>, operation: Arc<Process>) {
    tokio::select! {
        _ = operation.ended() => {}
        error = container.starved() => operation.give_up(error.message()),
        () = operation.deserted() => operation.give_up("its client has gone".to_owned()),
    }
}
