//! From start to SIGTERM.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use container_api::descriptors::Descriptors;
use container_api::images::images_server::ImagesServer;
use container_api::request::Heard;
use container_api::{inherited, lock, roots, socket};
use container_resource::settings::Settings;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::command::Start;
use crate::layer::bounds::Bounds;
use crate::layer::unpack::Unpacker;
use crate::service::Service;
use crate::store::{Paths, Store};

/// Serves until SIGTERM or SIGINT. Work that goes on when the signal comes is given up: the store heals at the
/// next start.
pub fn run(start: &Start) -> anyhow::Result<()> {
    let sockets = ["images.sock", "images-descriptors.sock"];
    let [rpc, descriptors] = sockets.map(|name| start.runtime_root.join(name));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(32)
        .enable_all()
        .build()?;
    roots::create_private(&start.app_root).context("cannot create the app root")?;
    let app_root = start
        .app_root
        .canonicalize()
        .context("cannot find the app root")?;
    let install_root = match &start.install_root {
        Some(path) => path.clone(),
        None => roots::install_root().context("cannot find the install root")?,
    };
    let settings = Settings::load(&app_root, &install_root)?;
    let paths = Paths::new(app_root);
    let _lock = lock::acquire(&paths.lock()).with_context(|| {
        format!(
            "another container-core-images owns {}",
            start.app_root.display()
        )
    })?;
    let listeners = listen(&start.runtime_root, [&rpc, &descriptors])?;
    let store = Store::open(paths, settings.registry.domain()).context("cannot open the store")?;
    let store = Arc::new(store.with_reserve(settings.storage.reserve()));
    let bounds = Bounds::from(&settings.image);
    let insecure = settings.registry.insecure.unwrap_or_default();
    runtime.block_on(serve(store, bounds, insecure, listeners))?;
    runtime.shutdown_background();
    Ok(())
}

fn listen(
    runtime_root: &Path,
    paths: [&Path; 2],
) -> anyhow::Result<[std::os::unix::net::UnixListener; 2]> {
    if std::env::var_os(inherited::VARIABLE).is_none() {
        roots::create_private(runtime_root).context("cannot create the runtime root")?;
    }
    inherited::listeners(paths).context("cannot listen")
}

async fn serve(
    store: Arc<Store>,
    bounds: Bounds,
    insecure: Vec<String>,
    [rpc, descriptors]: [std::os::unix::net::UnixListener; 2],
) -> anyhow::Result<()> {
    let rpc = UnixListener::from_std(rpc)?;
    let descriptors_listener = UnixListener::from_std(descriptors)?;
    let descriptors = Descriptors::default();
    tokio::spawn(descriptors.clone().serve(descriptors_listener));
    let program = std::env::current_exe().context("cannot find this program")?;
    let unpacker = Unpacker::new(program, bounds);
    let service = ImagesServer::new(Service::new(store, unpacker, descriptors, insecure))
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
    tracing::info!("serving images");
    tokio::select! {
        result = server => result.context("the server failed"),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
