//! A connection to a builder, through a Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{ListWorkersRequest, PruneRequest, UsageRecord};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::docker;

/// How long a builder has for an answer that it knows already.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a message: a Dockerfile with its source map, a piece of a result.
pub(crate) const MESSAGE_LIMIT: usize = 16 << 20;

/// The label of a worker that says who keeps its files (`worker/label` of BuildKit). The one in a dockerd has it where images are
/// containerd's.
const SNAPSHOTTER: &str = "org.mobyproject.buildkit.worker.snapshotter";

/// What answers at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Engine {
    /// BuildKit's own daemon.
    Buildkitd,
    /// The BuildKit inside a dockerd, behind `POST /grpc`.
    Dockerd,
}

/// A builder that has answered.
#[derive(Clone, Debug)]
pub struct Connection {
    engine: Engine,
    socket: PathBuf,
    control: ControlClient<Channel>,
    abilities: Abilities,
}

/// What a builder can do. It takes some time to say so, as it tries programs of other platforms, and it does not change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abilities {
    platforms: Vec<String>,
    has_layouts: bool,
}

/// Why a builder cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// No program listens at the socket.
    #[error("cannot connect to the builder")]
    Connect(#[source] io::Error),
    /// It speaks, but not BuildKit's protocol.
    #[error("the builder does not answer as BuildKit does: {0}")]
    Protocol(String),
    /// It does not speak.
    #[error("the builder has not answered for {} s", PATIENCE.as_secs())]
    Silent,
}

impl Connection {
    /// Connects to the engine at `socket`, and asks what it can do.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn open(socket: &Path, engine: Engine) -> Result<Self, ConnectionError> {
        let mut connection = Self::resume(socket, engine, Abilities::default()).await?;
        connection.ask().await?;
        Ok(connection)
    }

    /// Connects to the engine at `socket`, which has said before what it can do.
    ///
    /// # Errors When no program listens there.
    pub async fn resume(
        socket: &Path,
        engine: Engine,
        abilities: Abilities,
    ) -> Result<Self, ConnectionError> {
        // The first connection is made here, so that a missing listener is an `io::Error`.
        let first = dial(socket, engine)
            .await
            .map_err(ConnectionError::Connect)?;
        let mut first = Some(first);
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let ready = first.take();
            let path = path.clone();
            async move {
                match ready {
                    Some(stream) => Ok(stream),
                    None => dial(&path, engine).await,
                }
            }
        });
        // The authority is never looked at on a Unix socket.
        let channel =
            Endpoint::from_static("http://builder.invalid").connect_with_connector_lazy(connector);
        let control = ControlClient::new(channel)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        Ok(Self {
            engine,
            socket: socket.to_owned(),
            control,
            abilities,
        })
    }

    /// Asks what it can do, again.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn ask(&mut self) -> Result<(), ConnectionError> {
        let asked = self.control.list_workers(ListWorkersRequest::default());
        let workers = tokio::time::timeout(PATIENCE, asked)
            .await
            .map_err(|_| ConnectionError::Silent)?
            .map_err(|status| ConnectionError::Protocol(status.message().to_owned()))?
            .into_inner()
            .record;
        let has_snapshots = workers
            .iter()
            .any(|worker| worker.labels.contains_key(SNAPSHOTTER));
        let platforms = workers.into_iter().flat_map(|worker| worker.platforms);
        let platforms = platforms.map(|platform| {
            let mut words = vec![platform.os, platform.architecture, platform.variant];
            words.retain(|word| !word.is_empty());
            words.join("/")
        });
        let mut platforms: Vec<String> = platforms.collect();
        platforms.dedup();
        self.abilities = Abilities {
            platforms,
            has_layouts: self.engine == Engine::Buildkitd || has_snapshots,
        };
        Ok(())
    }

    /// What answers.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Platforms that it can build for, as `linux/arm64/v8`; empty: it does not say.
    pub fn platforms(&self) -> &[String] {
        &self.abilities.platforms
    }

    /// What it can do.
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// Whether it takes base images and caches as image layouts and gives images so: a buildkitd, or a dockerd whose images are containerd's.
    pub fn has_layouts(&self) -> bool {
        self.abilities.has_layouts
    }

    /// The dockerd around it, if there is one.
    pub fn docker(&self) -> Option<docker::Docker> {
        (self.engine == Engine::Dockerd).then(|| docker::Docker::new(&self.socket))
    }

    /// Drops what is cached: all that no build uses now, or what was last used so long ago and is not shared. Gives its bytes.
    ///
    /// # Errors
    /// What the builder says.
    pub async fn prune(
        &self,
        all: bool,
        unused_for: Option<Duration>,
    ) -> Result<u64, tonic::Status> {
        let keep = unused_for.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        let request = PruneRequest {
            all,
            keep_duration: keep,
            ..PruneRequest::default()
        };
        let mut records = self.control.clone().prune(request).await?.into_inner();
        let mut bytes = 0_u64;
        while let Some(UsageRecord { size, .. }) = records.message().await? {
            bytes = bytes.saturating_add(u64::try_from(size).unwrap_or(0));
        }
        Ok(bytes)
    }

    pub(crate) fn control(&self) -> ControlClient<Channel> {
        self.control.clone()
    }
}

/// A stream that speaks HTTP/2.
type Dialed = TokioIo<UnixStream>;

/// What a connector gives.
#[derive(Debug)]
enum Stream {
    Plain(Dialed),
    Upgraded(hyper::upgrade::Upgraded),
}

async fn dial(socket: &Path, engine: Engine) -> io::Result<Stream> {
    match engine {
        Engine::Buildkitd => {
            let stream = UnixStream::connect(socket).await?;
            Ok(Stream::Plain(TokioIo::new(stream)))
        }
        Engine::Dockerd => {
            let upgrade = upgrade(socket);
            let upgraded = tokio::time::timeout(PATIENCE, upgrade).await;
            upgraded
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
                .map(Stream::Upgraded)
        }
    }
}

/// What HTTP/1.1 becomes behind `POST /grpc` of dockerd's API.
async fn upgrade(socket: &Path) -> io::Result<hyper::upgrade::Upgraded> {
    let (mut sender, line) = docker::connect(socket).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/grpc")
        .header(header::HOST, "docker")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "h2c")
        .body(docker::nothing())
        .map_err(io::Error::other)?;
    let reply = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(io::Error::other(format!(
            "it answers {} to POST /grpc",
            reply.status()
        )));
    }
    let upgraded = hyper::upgrade::on(reply).await;
    // What has been upgraded is moved by whoever has it.
    drop(line);
    upgraded.map_err(io::Error::other)
}

mod stream {
    //! Whichever it is, its bytes go through.

    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::rt::{Read, ReadBufCursor, Write};

    use super::Stream;

    impl Read for Stream {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
                Self::Upgraded(stream) => Pin::new(stream).poll_read(context, buffer),
            }
        }
    }

    impl Write for Stream {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.get_mut() {
                Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
                Self::Upgraded(stream) => Pin::new(stream).poll_write(context, bytes),
            }
        }

        fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Plain(stream) => Pin::new(stream).poll_flush(context),
                Self::Upgraded(stream) => Pin::new(stream).poll_flush(context),
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
                Self::Upgraded(stream) => Pin::new(stream).poll_shutdown(context),
            }
        }
    }
}
