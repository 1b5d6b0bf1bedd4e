//! From start to SIGTERM.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use container_api::descriptors::Descriptors;
use container_api::network::network_server::NetworkServer;
use container_api::request::Heard;
use container_api::{inherited, lock, roots, socket};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use crate::command::Start;
use crate::configuration::Configuration;
use crate::leases::Leases;
use crate::namespace::holder::{self, End};
use crate::network::{Network, host_side, remains, way_out};
use crate::service::Service;

/// Before it is tried again to have the namespace kept.
const PAUSE: Duration = Duration::from_secs(1);

/// Sockets that it listens at.
pub const LISTENERS: usize = 2;

/// Removes what the host has of networks that are gone, and of the one in `state`, which nobody serves.
pub fn clean(state: Option<&Path>) -> anyhow::Result<()> {
    let taken = state.map(|state| lock::acquire(&state.join("lock")));
    let _lock = taken.transpose().context("a process serves the network")?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(remains::clean(state))
}

/// Serves until SIGTERM or SIGINT.
pub fn run(start: &Start) -> anyhow::Result<()> {
    let configuration = Configuration::load(&start.state)?;
    let name = &configuration.asked.name;
    // No network's name makes one of these the other of another network.
    let [rpc, descriptors] =
        ["network", "taps"].map(|what| start.runtime_root.join(format!("{what}-{name}.sock")));
    let _lock = lock::acquire(&start.state.join("lock"))
        .with_context(|| format!("another process serves the network {name}"))?;
    if std::env::var_os(inherited::VARIABLE).is_none() {
        roots::create_private(&start.runtime_root).context("cannot create the runtime root")?;
    }
    let listeners = inherited::listeners([&rpc, &descriptors]).context("cannot listen")?;
    let leases = Leases::open(
        Leases::path_in(&start.state),
        configuration.ipv4,
        configuration.ipv6,
        configuration.asked.mtu,
    )
    .context("cannot read the network's leases")?;
    // One thread is enough for what is left to a process: packets are the kernel's.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let network = Network::open(configuration, leases, &start.state).await?;
            serve(network, start, listeners).await
        })
}

async fn serve(
    mut network: Network,
    start: &Start,
    [rpc, descriptors_listener]: [std::os::unix::net::UnixListener; LISTENERS],
) -> anyhow::Result<()> {
    // Nobody is answered before it is known what rules bind whom.
    network.adopt().await?;
    network
        .listen(&start.resolv_conf, &start.runtime_root)
        .await?;
    let rpc = UnixListener::from_std(rpc)?;
    let descriptors = Descriptors::default();
    let descriptors_listener = UnixListener::from_std(descriptors_listener)?;
    tokio::spawn(descriptors.clone().serve(descriptors_listener));
    let directory = network.directory();
    let network = Arc::new(Mutex::new(network));
    let telling = Arc::default();
    let service = Service::new(
        network.clone(),
        directory,
        descriptors,
        Arc::clone(&telling),
    );
    let service = NetworkServer::new(service)
        .max_decoding_message_size(socket::MESSAGE_LIMIT)
        .max_encoding_message_size(socket::MESSAGE_LIMIT);
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let server = tonic::transport::Server::builder()
        .layer(Heard)
        .add_service(service)
        .serve_with_incoming(socket::incoming(rpc));
    tracing::info!("serving the network");
    tokio::select! {
        result = server => result.context("the server failed")?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = way_out::keep(&network, &start.state) => {}
        () = host_side::keep(&network, &telling) => {}
        () = keep(&network, &start.state) => tracing::warn!("the network's directory was removed"),
    }
    let closed = network.lock().await.close().await;
    closed.context("cannot remove the network")
}

/// Sees to it that somebody keeps the network's namespace, until its directory is removed.
async fn keep(network: &Mutex<Network>, state: &Path) {
    loop {
        let kept = match holder::ended(state).await {
            Ok(End::Abandoned) => return,
            Ok(End::Killed) => {
                tracing::warn!(
                    "the process that keeps the network's namespace was killed: another one keeps it"
                );
                network.lock().await.keep().await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::error!("nobody keeps the network's namespace: {error:#}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
