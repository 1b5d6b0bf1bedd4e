//! The apiserver's process: one per app root.

use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use container_api::api::containers_server::ContainersServer;
use container_api::api::networks_server::NetworksServer;
use container_api::api::system_server::SystemServer;
use container_api::descriptors::Descriptors;
use container_api::inherited::READY_VARIABLE;
use container_api::machine::machines_server::MachinesServer;
use container_api::request::Heard;
use container_api::roots::Roots;
use container_api::socket;
use container_api::volume::volumes_server::VolumesServer;
use container_api::{lock, protocol};
use container_resource::settings::{Settings, VmmConfinement};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};

use crate::auxiliary::Auxiliary;
use crate::builders;
use crate::containers::{Conditions, Containers, Parts};
use crate::images::Images;
use crate::logs;
use crate::machines::Machines;
use crate::manager;
use crate::metrics::{self, Metrics};
use crate::networks::Networks;
use crate::reserve::Reserve;
use crate::service;
use crate::shutdown::Shutdown;
use crate::sockets::{Inherited, Sockets};
use crate::standby::Standby;
use crate::templates::Templates;

/// What looks at a call before it is served.
type Check = fn(Request<()>) -> Result<Request<()>, Status>;

/// How long answers may take to be sent when the system ends.
const ANSWERS: Duration = Duration::from_millis(250);

/// Serves until told to stop. Containers and core-images go on, unless they were stopped by request.
pub async fn serve(
    roots: Roots,
    inherited: Inherited,
    vmm_confinement: Option<VmmConfinement>,
    debug: bool,
) -> anyhow::Result<()> {
    let ready = ready_descriptor();
    let _lock = only_one(&roots)?;
    let sockets = Sockets::open(&roots, inherited)?;
    let handed = UnixListener::from_std(sockets.descriptors).context("listen")?;
    let main = UnixListener::from_std(sockets.main).context("listen")?;

    let descriptors = Descriptors::default();
    tokio::spawn(descriptors.clone().serve(handed));
    tokio::spawn(logs::rotate(roots.log.clone()));
    let images = Images::new(roots.clone(), debug);
    tokio::spawn(images.clone().supervise());
    tokio::spawn(images.clone().drop_leases());
    let settings = Settings::load(&roots.app, &roots.install).context("read the configuration")?;
    let networks = Networks::new(&roots, settings.network.clone(), debug);
    networks.load().context("load the networks")?;
    networks.clean().await;
    let standby = Standby::new(&roots, &networks, settings.container.standby(), debug);
    tokio::spawn(standby.clone().serve());
    let templates = Templates::new(&roots, &networks, standby.clone());
    tokio::spawn(templates.clone().serve());
    let containers = Arc::new(Containers::new(
        roots.clone(),
        Parts {
            images: images.clone(),
            networks: networks.clone(),
            templates: templates.clone(),
            standby,
        },
        descriptors,
        Conditions {
            reserve: Reserve::new(roots.app.clone(), settings.storage.reserve()),
            vmm_confinement: vmm_confinement
                .or(settings.vmm.confinement)
                .unwrap_or_default(),
        },
        debug,
    ));
    containers.volumes.sweep().context("tidy the volumes")?;
    containers.load().await.context("load the containers")?;
    networks.settle_builtin().await;
    if let Some(idle) = settings.build.idle() {
        tokio::spawn(builders::stop_idle(containers.clone(), roots.clone(), idle));
    }
    containers.follow_networks();
    networks.watch_refusals(containers.events.clone());
    // Those of containers that went while nobody could tell of it.
    images.departed();

    let machines = Arc::new(Machines::new(&roots, containers.clone()));
    machines.sweep();
    let metrics_socket = roots.runtime.join("metrics.sock");
    if settings.metrics.enabled() {
        let listener = socket::bind(&metrics_socket)
            .with_context(|| format!("listen at {}", metrics_socket.display()))?;
        let listener = UnixListener::from_std(listener).context("listen")?;
        let metrics = Arc::new(Metrics::new());
        tokio::spawn(metrics.clone().count(containers.clone()));
        tokio::spawn(metrics::serve(
            listener,
            metrics,
            containers.clone(),
            images.clone(),
        ));
    }
    let stop = Arc::new(Notify::new());
    let stopped = CancellationToken::new();
    let auxiliary = Auxiliary::find(&roots);
    let shutdown = Shutdown {
        auxiliary: auxiliary.clone(),
        templates,
        containers: containers.clone(),
        networks: networks.clone(),
        images,
        stop: stop.clone(),
    };
    let system = service::System::new(roots.clone(), shutdown);
    let server = Server::builder()
        .layer(Heard)
        .add_service(SystemServer::new(system))
        .add_service(checked(
            ContainersServer::new(service::Containers(containers.clone()))
                .max_decoding_message_size(socket::MESSAGE_LIMIT),
        ))
        .add_service(checked(MachinesServer::new(service::Machines(machines))))
        .add_service(checked(VolumesServer::new(service::Volumes(
            containers.clone(),
        ))))
        .add_service(checked(
            NetworksServer::new(service::Networks {
                networks,
                containers,
            })
            .max_decoding_message_size(socket::MESSAGE_LIMIT),
        ))
        .serve_with_incoming_shutdown(socket::incoming(main), stopped.clone().cancelled_owned());
    tokio::pin!(server);
    announce(ready);
    auxiliary.start();
    manager::ready();
    tracing::info!("serving {}", roots.app.display());

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        served = &mut server => served.context("serve")?,
        () = stop.notified() => tracing::info!("stopped by request"),
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
        () = manager::keep_alive() => {}
    }
    manager::stopping();
    // Answers on their way are sent; calls that wait for something may never end.
    stopped.cancel();
    if let Ok(served) = tokio::time::timeout(ANSWERS, server).await {
        served.context("serve")?;
    }
    // Already gone, or never there, is as good.
    let _ = std::fs::remove_file(&metrics_socket);
    if !sockets.are_inherited {
        for path in [roots.apiserver_socket(), roots.apiserver_descriptors()] {
            // Already gone is as good.
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

/// A service whose clients speak this version, or none.
fn checked<S>(service: S) -> InterceptedService<S, Check> {
    InterceptedService::new(service, protocol::check)
}

/// The lock that one apiserver of an app root holds.
fn only_one(roots: &Roots) -> anyhow::Result<lock::Lock> {
    let path = roots.apiserver_lock();
    lock::acquire(&path).map_err(|error| match error.kind() {
        // Its sockets lie where this one's would, or it was started with another XDG_RUNTIME_DIR.
        io::ErrorKind::WouldBlock => anyhow::anyhow!(
            "an apiserver for {} is running already, but not with its sockets in {}",
            roots.app.display(),
            roots.runtime.display()
        ),
        _ => anyhow::Error::new(error).context(format!("lock {}", path.display())),
    })
}

/// The descriptor on which whoever started the daemon waits.
fn ready_descriptor() -> Option<OwnedFd> {
    let number: RawFd = std::env::var(READY_VARIABLE)
        .ok()?
        .parse()
        .ok()
        .filter(|number| *number > 2)?;
    // SAFETY: whoever set the variable opened this descriptor for us alone; nothing else was opened yet
    // that could have taken its number.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    // Helpers must not hold it open; without the flag they would, which is only a late "not ready".
    let _ = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
    Some(descriptor)
}

/// Says that the sockets are served.
fn announce(ready: Option<OwnedFd>) {
    if let Some(descriptor) = ready {
        // Whoever waited may have given up.
        let _ = std::fs::File::from(descriptor).write_all(b"1");
    }
}
