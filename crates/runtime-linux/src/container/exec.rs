//! A process beside the first one.

use bytes::Bytes;
use container_api::guest::{ExecReply, ExecRequest, SignalRequest};
use container_api::guest_channel::Guest;
use container_api::{Error, Kind};
use container_resource::container::ProcessConfiguration;
use tokio::task::JoinHandle;

use super::Container;
use crate::oci;
use crate::process::Process;
use crate::stdio::Stdio;

impl Container {
    /// Runs `process` beside the first one, under the name `id`; `apart`, so that SIGKILL takes all that it started along.
    ///
    /// # Errors
    /// When the container does not run, or the process cannot be started in it.
    pub async fn exec(
        &self,
        id: &str,
        process: &ProcessConfiguration,
        stdio: Stdio,
        apart: bool,
    ) -> Result<(), Error> {
        let guest = self.guest()?;
        let mut oci = oci::process(&self.configuration, process, stdio.size)
            .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
        if let Some(spec) = &self.spec {
            // Not more than the first process may.
            let capabilities = serde_json::from_value(spec["process"]["capabilities"].clone())
                .map_err(|error| Error::caused(Kind::Internal, error).context("oci.json"))?;
            oci.set_capabilities(capabilities);
            oci.set_no_new_privileges(spec["process"]["noNewPrivileges"].as_bool());
        }
        let oci = serde_json::to_vec(&oci).map_err(|error| Error::caused(Kind::Internal, error))?;
        let input = stdio.stdin.is_some();
        let request = ExecRequest {
            process: id.to_owned(),
            oci_process: Bytes::from(oci),
            user: oci::user(process),
            stdin: input,
            apart,
        };
        let mut caller = guest.calls();
        let mut call = tokio::spawn(async move { caller.exec(request).await });
        let answered = async {
            let joined = (&mut call).await;
            joined.map_err(|error| Error::caused(Kind::Internal, error))?
        };
        if let Err(error) = self.ask(answered).await {
            if matches!(error.kind, Kind::Timeout | Kind::Exhausted) {
                tokio::spawn(take_back(guest, id.to_owned(), call));
            }
            return Err(error);
        }
        let followed = Process::follow(&guest, id, process.terminal, input, stdio, None)
            .await
            .map_err(|error| Error::caused(Kind::Internal, error).context("connect the process"))?;
        self.remember(id, followed);
        Ok(())
    }
}

/// Ends the process `id` when a guest that hung goes on and starts it: its client was told that it did not.
async fn take_back(
    guest: Guest,
    id: String,
    exec: JoinHandle<Result<tonic::Response<ExecReply>, tonic::Status>>,
) {
    if let Ok(Ok(_)) = exec.await {
        let request = SignalRequest {
            process: id,
            signal: libc::SIGKILL,
            all: false,
        };
        // It may have ended by itself, or the guest with it.
        let _ = guest.calls().signal(request).await;
    }
}
