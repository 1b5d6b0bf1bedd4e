//! `create`: a bundle and a name.

use std::sync::Arc;
use std::time::Duration;

use container_api::plugin::{self, ServiceKind};
use container_api::roots::create_private;
use container_api::{Error, Kind};
use container_resource::bundle::{self, Boot, Bundle};
use container_resource::container::{ContainerConfiguration, CreateOptions};
use container_resource::event::Action;
use container_resource::room;
use container_resource::size::{self, MINIMUM_MEMORY};

use super::{Containers, Entry, bundles};

impl Containers {
    /// Makes a container that can be started; gives the names of the volumes that were made because it names them.
    pub async fn create(
        &self,
        configuration: ContainerConfiguration,
        options: CreateOptions,
    ) -> Result<Vec<String>, Error> {
        self.create_as(configuration, options, Progress::Finished)
            .await
    }

    /// Makes a container that is `progress` then. One that is unfinished does not outlive this process, until [`Self::finish`].
    pub(super) async fn create_as(
        &self,
        configuration: ContainerConfiguration,
        options: CreateOptions,
        progress: Progress,
    ) -> Result<Vec<String>, Error> {
        let id = configuration.id.clone();
        check(&configuration)?;
        plugin::service(
            &self.roots,
            &configuration.runtime_handler,
            ServiceKind::Runtime,
        )?;
        let bundle = Bundle::new(self.roots.containers().join(&id));
        let enter = |configuration| {
            let entry = Arc::new(Entry::new(id, bundle, Some(configuration), options));
            // Nobody else knows it yet.
            let operation = entry.operation.clone().try_lock_owned();
            let operation = operation.map_err(|error| Error::caused(Kind::Internal, error))?;
            self.reserve(entry.clone())?;
            Ok((entry, operation))
        };
        let ((entry, _operation), volumes) = self.with_volumes(configuration, enter).await?;
        // Boxed: with it the future of a creation is large.
        let created = Box::pin(self.make(&entry, progress)).await;
        if let Err(error) = created {
            // Before its name is free: whoever takes that has the same directory.
            match bundles::detach(&self.roots, &entry.bundle) {
                Ok(trash) => self.clearing.remove(trash, Duration::ZERO),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let id = &entry.id;
                    tracing::warn!(container = %id, "cannot remove what is left of it: {error:#}");
                }
            }
            self.networks.leave(&entry.id);
            self.release(&entry);
            self.take_volumes_back(volumes).await;
            return Err(error);
        }
        self.events.tell(Action::Create, &entry.id, []);
        Ok(volumes.named())
    }

    async fn make(&self, entry: &Entry, progress: Progress) -> Result<(), Error> {
        let failed = |error: std::io::Error| {
            Error::caused(kind(&error), error).context(format_args!(
                "create the bundle {}",
                entry.bundle.directory().display()
            ))
        };
        let configuration = entry.configuration()?;
        self.reserve.check()?;
        // The directory comes before the lease, which is dropped where it does not exist.
        create_private(entry.bundle.directory()).map_err(failed)?;
        if progress == Progress::Unfinished {
            std::fs::write(entry.bundle.unfinished(), "").map_err(failed)?;
        }
        let roots = self.images.prepare_roots(&configuration, &entry.id);
        let (roots, arrived) = tokio::join!(roots, self.networks.arrive(&configuration));
        // Told first: it was asked for by name.
        arrived?;
        let roots = roots?;
        let guest = self.guest_files(configuration.kernel.as_deref()).await?;
        let boot = Boot {
            kernel: guest.kernel,
            initramfs: guest.initramfs,
            has_modules: guest.has_modules,
            root: roots.container,
            init: roots.init,
            cache: self.roots.cache(),
            requested_us: 0,
            restarts: 0,
            vmm_confinement: self.vmm_confinement,
            interfaces: Vec::new(),
            published_ports: Vec::new(),
            ssh_agent: None,
            volumes: Vec::new(),
            idle: false,
            fills: false,
        };
        bundle::write_json(&entry.bundle.boot(), &boot).map_err(failed)?;
        bundles::create(&entry.bundle, &configuration, &entry.options).map_err(failed)
    }
}

/// How far a container is when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is one.
    Finished,
    /// Something more is done before it is one.
    Unfinished,
}

/// What the file system said, as far as a client acts on it.
pub fn kind(error: &std::io::Error) -> Kind {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Exhausted,
        std::io::ErrorKind::PermissionDenied => Kind::PermissionDenied,
        _ => Kind::Internal,
    }
}

/// What must hold whatever client asks.
fn check(configuration: &ContainerConfiguration) -> Result<(), Error> {
    let invalid = |text: String| Err(Error::new(Kind::InvalidArgument, text));
    if let Err(error) = container_resource::name::validate(&configuration.id) {
        return Err(Error::caused(Kind::InvalidArgument, error));
    }
    let memory = configuration.resources.memory_in_bytes;
    if memory < MINIMUM_MEMORY {
        return invalid(format!(
            "minimum memory amount allowed is {} (got {memory} bytes)",
            size::memory(MINIMUM_MEMORY)
        ));
    }
    if configuration.resources.cpus == 0 {
        return invalid("a container needs at least one CPU".into());
    }
    if let Err(error) = container_resource::publish::check(&configuration.published_ports) {
        return Err(Error::caused(Kind::InvalidArgument, error));
    }
    if configuration.networks.is_empty() && !configuration.published_ports.is_empty() {
        return invalid("ports cannot be published without a network".into());
    }
    room::check(configuration).map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
    if configuration.init_process.executable.is_empty() {
        return invalid("no command: neither the image nor the request names an executable".into());
    }
    if configuration
        .images()
        .any(|image| image.manifest_digest.is_empty())
    {
        return invalid("the configuration names an image without its manifest".into());
    }
    Ok(())
}
