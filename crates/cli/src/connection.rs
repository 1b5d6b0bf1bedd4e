//! A command's connections to the services.

use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use container_api::api::containers_client::ContainersClient;
use container_api::api::networks_client::NetworksClient;
use container_api::api::system_client::SystemClient;
use container_api::arrivals::Arrivals;
use container_api::images::images_client::ImagesClient;
use container_api::machine::machines_client::MachinesClient;
use container_api::request::{Channel, RequestId};
use container_api::roots::Roots;
use container_api::volume::volumes_client::VolumesClient;
use container_api::{Error, Kind, descriptors, liveness, socket};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tonic::{Response, Status};

use crate::failure::Failure;
use crate::output;

/// How long core-images may take to be started, again perhaps.
const IMAGES_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried again while it takes no more connections.
const IMAGES_INTERVAL: Duration = Duration::from_millis(20);
/// How often it is asked whether it is there, while a call to it goes on.
const IMAGES_LOOK: Duration = Duration::from_secs(1);

/// How long a call may take that is answered from memory (as Apple's container has it).
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// The apiserver's containers.
pub type Containers = ContainersClient<Channel>;
/// The apiserver's networks.
pub type Networks = NetworksClient<Channel>;

/// The images of core-images, which is watched as long as this is held: see [`Context::silence_of_images`].
#[derive(Debug)]
pub struct Images {
    client: ImagesClient<Channel>,
    watch: AbortHandle,
}

impl Deref for Images {
    type Target = ImagesClient<Channel>;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl DerefMut for Images {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.client
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// What every command knows: where the system is.
#[derive(Clone, Debug)]
pub struct Context {
    /// Directories and sockets of the system.
    pub roots: Roots,
    /// `--debug`.
    pub debug: bool,
    /// When this command began.
    pub begun: Timestamp,
    /// Rung when core-images is silent.
    silent: Arc<Notify>,
}

impl Context {
    /// From the environment and the place of the binary.
    pub fn new(debug: bool) -> Result<Self, Failure> {
        let roots =
            Roots::from_environment().context("cannot tell where the container system is")?;
        let request = RequestId::new();
        if debug {
            output::tell(format_args!("debug: request {request}"));
        }
        request.own();
        Ok(Self {
            roots,
            debug,
            begun: Timestamp::now(),
            silent: Arc::default(),
        })
    }

    /// A connection to the apiserver, for containers.
    pub fn containers(&self) -> Result<Containers, Failure> {
        let channel = connect(&self.roots.apiserver_socket())?;
        Ok(ContainersClient::new(channel).max_decoding_message_size(socket::MESSAGE_LIMIT))
    }

    /// A connection to the apiserver, for networks.
    pub fn networks(&self) -> Result<Networks, Failure> {
        let channel = connect(&self.roots.apiserver_socket())?;
        Ok(NetworksClient::new(channel).max_decoding_message_size(socket::MESSAGE_LIMIT))
    }

    /// A connection to the apiserver, for machines.
    pub fn machines(&self) -> Result<MachinesClient<Channel>, Failure> {
        let channel = connect(&self.roots.apiserver_socket())?;
        Ok(MachinesClient::new(channel).max_decoding_message_size(socket::MESSAGE_LIMIT))
    }

    /// A connection to the apiserver, for volumes.
    pub fn volumes(&self) -> Result<VolumesClient<Channel>, Failure> {
        let channel = connect(&self.roots.apiserver_socket())?;
        Ok(VolumesClient::new(channel).max_decoding_message_size(socket::MESSAGE_LIMIT))
    }

    /// A connection to the apiserver, for the system as a whole.
    pub fn system(&self) -> Result<SystemClient<Channel>, Failure> {
        Ok(SystemClient::new(connect(&self.roots.apiserver_socket())?))
    }

    /// A connection to core-images. The apiserver starts it: as long as that one is there, this one will be.
    pub async fn images(&self) -> Result<Images, Failure> {
        let path = self.roots.images_socket();
        let mut arrivals = None;
        let deadline = Instant::now() + IMAGES_PATIENCE;
        loop {
            let error = match socket::connect(&path) {
                Ok(channel) => {
                    let client =
                        ImagesClient::new(channel).max_decoding_message_size(socket::MESSAGE_LIMIT);
                    let watch = self.watch_images();
                    return Ok(Images { client, watch });
                }
                Err(error) => error,
            };
            // Its server may be on its way: the watch begins before the look after which it is waited for.
            let Some(arrivals) = &arrivals else {
                arrivals = Some(Arrivals::below(&self.roots.runtime));
                continue;
            };
            let waited = match arrivals {
                Ok(arrivals) if self.containers().is_ok() => {
                    let remaining = deadline.saturating_duration_since(Instant::now());
                    // Nobody takes connections, and too many wait already: no event tells when there are fewer.
                    let wait = if error.kind() == std::io::ErrorKind::WouldBlock {
                        remaining.min(IMAGES_INTERVAL)
                    } else {
                        remaining
                    };
                    // Whether it was in time shows when it is tried again.
                    let _ = tokio::time::timeout(wait, arrivals.next()).await;
                    !remaining.is_zero()
                }
                _ => false,
            };
            if !waited {
                return Err(match error.kind() {
                    std::io::ErrorKind::WouldBlock => liveness::silent(&self.images_log()).into(),
                    _ => Failure::not_running(&error),
                });
            }
        }
    }

    /// Ends, with what to tell, when core-images is asked for something and does not answer any more. What it works
    /// on may take as long as it likes.
    pub async fn silence_of_images(&self) -> Failure {
        self.silent.notified().await;
        liveness::silent(&self.images_log()).into()
    }

    fn watch_images(&self) -> AbortHandle {
        let (path, silent) = (self.roots.images_socket(), Arc::clone(&self.silent));
        let watch = tokio::spawn(async move {
            liveness::silence(&path, IMAGES_LOOK, liveness::PATIENCE).await;
            silent.notify_one();
        });
        watch.abort_handle()
    }

    fn images_log(&self) -> PathBuf {
        self.roots.log.join("core-images.log")
    }

    /// Hands a descriptor to core-images; gives the token that names it.
    pub async fn hand_to_images(&self, descriptor: BorrowedFd<'_>) -> Result<String, Failure> {
        let token = descriptors::send(&self.roots.images_descriptors(), &[descriptor])
            .await
            .context("cannot hand the archive to the image service")?;
        Ok(token)
    }

    /// Tells something only when `--debug` is given.
    pub fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            output::tell(format_args!("debug: {}", message()));
        }
    }
}

/// The answer to a call that every living service answers at once.
pub async fn prompt<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    if let Ok(reply) = tokio::time::timeout(ANSWER_PATIENCE, call).await {
        return Ok(reply?.into_inner());
    }
    let seconds = ANSWER_PATIENCE.as_secs();
    let message = format!("the container system service has not answered for {seconds} s");
    Err(Failure::Service(Error::new(Kind::Timeout, message)))
}

fn connect(path: &Path) -> Result<Channel, Failure> {
    socket::connect(path).map_err(|error| Failure::not_running(&error))
}
