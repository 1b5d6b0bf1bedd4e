//! core-images, the image service: its process and what is asked of it.

mod leases;
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use container_api::images::images_client::ImagesClient;
use container_api::images::{PrepareRootsRequest, Root};
use container_api::request::Channel;
use container_api::roots::Roots;
use container_api::{Error, Kind, liveness, socket};
use container_resource::bundle::{Extent, RootDisk};
use container_resource::container::ContainerConfiguration;
use tokio::sync::Notify;

use crate::trouble::Trouble;

/// Name of the plugin.
pub const PLUGIN: &str = "container-core-images";
/// How long a call waits for a service that is being started.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The image service.
#[derive(Clone, Debug)]
pub struct Images {
    roots: Roots,
    debug: bool,
    stopping: Arc<tokio::sync::watch::Sender<bool>>,
    /// Whether somebody listens, or is about to: the service, or this process for it.
    listened: Arc<tokio::sync::watch::Sender<bool>>,
    /// How often the service has failed in a row, and how it did the last time.
    failures: Arc<tokio::sync::watch::Sender<Trouble>>,
    /// Held while the service is supervised.
    supervised: Arc<tokio::sync::Mutex<()>>,
    /// Rung when a container has gone, for [`Self::drop_leases`].
    departed: Arc<Notify>,
}

/// What the machine of a container has of images.
#[derive(Debug)]
pub struct PreparedRoots {
    /// Root of the container's own image.
    pub container: RootDisk,
    /// Root of its init image.
    pub init: Option<RootDisk>,
}

impl Images {
    /// The service of this system.
    pub fn new(roots: Roots, debug: bool) -> Self {
        Self {
            roots,
            debug,
            stopping: Arc::new(tokio::sync::watch::Sender::new(false)),
            listened: Arc::new(tokio::sync::watch::Sender::new(false)),
            failures: Arc::default(),
            supervised: Arc::default(),
            departed: Arc::default(),
        }
    }

    /// The file whose lock the service holds.
    pub fn lock_path(&self) -> PathBuf {
        self.roots.app.join("core-images.lock")
    }

    /// That the service ends again and again, if it does.
    pub fn trouble(&self) -> Option<Trouble> {
        self.failures.borrow().told()
    }

    fn log_path(&self) -> PathBuf {
        self.roots.log.join("core-images.log")
    }

    async fn connect(&self) -> Result<ImagesClient<Channel>, Error> {
        let deadline = tokio::time::Instant::now() + CONNECT_TIMEOUT;
        let mut listened = self.listened.subscribe();
        loop {
            // The sender is our own, and whether it was in time shows below.
            let listening = listened.wait_for(|listened| *listened);
            let _ = tokio::time::timeout_at(deadline, listening).await;
            match socket::connect(&self.roots.images_socket()) {
                Ok(channel) => {
                    return Ok(
                        ImagesClient::new(channel).max_decoding_message_size(socket::MESSAGE_LIMIT)
                    );
                }
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(Error::caused(Kind::Unavailable, error)
                        .context(format_args!("{PLUGIN} does not answer"))
                        .with_hint(format!("See {}.", self.log_path().display())));
                }
                // It has just gone: another one follows.
                Err(_) => drop(tokio::time::timeout_at(deadline, listened.changed()).await),
            }
        }
    }

    /// The outcome of a call, which a service that is stopped does not hold up.
    async fn answered<T, E: Into<Error>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        liveness::answered(&self.roots.images_socket(), &self.log_path(), call).await
    }

    /// The roots of `configuration`'s images, kept as long as the container `lease` exists.
    pub async fn prepare_roots(
        &self,
        configuration: &ContainerConfiguration,
        lease: &str,
    ) -> Result<PreparedRoots, Error> {
        let digests = configuration.images().map(|image| &image.manifest_digest);
        let request = PrepareRootsRequest {
            manifest_digests: digests.cloned().collect(),
            lease: lease.to_owned(),
        };
        let mut client = self.connect().await?;
        let reply = self.answered(client.prepare_roots(request)).await?;
        let mut roots = reply.into_inner().roots.into_iter().map(root_disk);
        let container = roots
            .next()
            .ok_or_else(|| Error::new(Kind::Internal, format!("{PLUGIN} gives no root")))?;
        Ok(PreparedRoots {
            container,
            init: roots.next(),
        })
    }
}

fn root_disk(root: Root) -> RootDisk {
    let extents = root.extents.into_iter().map(|extent| Extent {
        path: extent.path.into(),
        offset: extent.offset,
        length: extent.length,
        stamp: extent.stamp.into(),
    });
    RootDisk {
        extents: extents.collect(),
        size: root.size,
    }
}
