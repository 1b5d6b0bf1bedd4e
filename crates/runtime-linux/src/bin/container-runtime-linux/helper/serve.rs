//! The helper's process: its sockets, open as long as the container lives.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use container_api::descriptors::Descriptors;
use container_api::request::Heard;
use container_api::runtime::runtime_server::RuntimeServer;
use container_api::socket;
use container_resource::bundle::Bundle;
use container_runtime_linux::{Container, Standby};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tonic::transport::Server;

use super::service::Service;

/// How long callers have to take their answers when the container has ended.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves the container of `bundle`, whose machine gets the `taps`, in the machine `standby` if that fits, until it has ended.
pub async fn serve(
    bundle: Bundle,
    [main, handed_over]: [UnixListener; 2],
    taps: Vec<OwnedFd>,
    standby: Option<Standby>,
) -> anyhow::Result<()> {
    // The kernel sends one to a process group that loses its parent while it is stopped (setpgid(2)).
    let _hang_ups = signal(SignalKind::hangup()).context("ignore hang-ups")?;
    let sockets = [bundle.socket(), bundle.descriptors()];
    let container = Arc::new(Container::open(bundle)?);

    let descriptors = Descriptors::default();
    let handed_over =
        tokio::net::UnixListener::from_std(handed_over).context("listen for descriptors")?;
    tokio::spawn(descriptors.clone().serve(handed_over));
    let main = tokio::net::UnixListener::from_std(main).context("listen")?;
    let (stop, stopped) = oneshot::channel::<()>();
    let service = Service {
        container: container.clone(),
        descriptors,
    };
    let server = Server::builder()
        .layer(Heard)
        .add_service(RuntimeServer::new(service).max_decoding_message_size(socket::MESSAGE_LIMIT))
        .serve_with_incoming_shutdown(socket::incoming(main), async {
            // Sent or dropped: both mean that the container has ended.
            let _ = stopped.await;
        });
    let server = tokio::spawn(server);

    container_runtime_linux::live(&container, taps, standby).await;
    drop(stop);
    // Callers that wait get their answer now; one that does not read it does not keep the helper.
    if let Ok(served) = tokio::time::timeout(GOODBYE, server).await {
        served.context("server task")?.context("serve")?;
    }
    for path in sockets {
        // Removed with the bundle, or already.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}
