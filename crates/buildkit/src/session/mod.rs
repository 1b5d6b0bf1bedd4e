//! A build's session: an HTTP/2 connection inside `Control.Session`, on which the builder is the client, and asks for files, secrets, keys
//! and logins.

mod auth;
mod content;
mod files;
mod output;
mod secrets;
mod ssh;
mod upload;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSyncServer;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::filesync::v1::file_send_server::FileSendServer;
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::SshServer;
use bollard_buildkit_proto::moby::upload::v1::upload_server::UploadServer;
use futures::stream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::{AsciiMetadataKey, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use crate::connection::{Connection, MESSAGE_LIMIT};
use crate::content::Store;
use crate::context::{Context, ContextError};
use crate::generated::content::content_server::ContentServer;

/// Bytes on their way in one direction.
const BUFFER: usize = 256 << 10;
/// Messages that wait for the builder.
const QUEUE: usize = 4;
/// The window of one stream, in bytes: a result is one.
const WINDOW: u32 = 1 << 20;
/// That of the connection. What a builder asks for comes in frames of a few bytes, and h2 takes too many of them at once for an attack: how many
/// depends on this. All that [`BUFFER`] holds are fewer.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The calls that the builder may make, by which it learns what this client can do (`session.MethodURL` of BuildKit).
const METHODS: [&str; 16] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.FileSend/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
    "/moby.upload.v1.Upload/Pull",
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/Update",
    "/containerd.services.content.v1.Content/Read",
    "/containerd.services.content.v1.Content/Write",
    "/containerd.services.content.v1.Content/Status",
    "/containerd.services.content.v1.Content/ListStatuses",
    "/containerd.services.content.v1.Content/Abort",
];

/// Where bytes come from that are read once.
pub type Upload = Box<dyn AsyncRead + Send + Unpin>;

/// Where a result's bytes go.
pub type Sink = Box<dyn tokio::io::AsyncWrite + Send + Unpin>;

/// A secret: where its bytes are.
#[derive(Clone, Debug)]
pub enum Secret {
    /// In a file, which is read when it is asked for.
    File(PathBuf),
    /// Here.
    Value(Vec<u8>),
}

/// Whose keys a step may use.
#[derive(Clone, Debug)]
pub enum Agent {
    /// An SSH agent at a socket.
    Socket(PathBuf),
}

/// All that the builder may ask for.
#[derive(Default)]
pub struct Sources {
    /// Directories, by their names in the build.
    pub contexts: HashMap<String, Context>,
    /// By their ids.
    pub secrets: HashMap<String, Secret>,
    /// By their ids.
    pub agents: HashMap<String, Agent>,
    /// Image layouts, by the names that the builder has for them: `local:` and a cache's directory, `oci:` and a layout's name.
    pub stores: HashMap<String, Store>,
    /// A context that is a tar, under the name in its address.
    pub upload: Option<(String, Upload)>,
    /// Where the result goes, if it comes through the session.
    pub output: Option<Sink>,
    /// Names the place of the contexts: what a builder has of them is found again by it.
    pub shared_key: String,
}

impl Sources {
    /// The same for another build: what can be read once is not in it.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            contexts: self.contexts.clone(),
            secrets: self.secrets.clone(),
            agents: self.agents.clone(),
            stores: self.stores.clone(),
            upload: None,
            output: None,
            shared_key: self.shared_key.clone(),
        }
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Secrets are not shown.
        formatter
            .debug_struct("Sources")
            .field("contexts", &self.contexts)
            .finish_non_exhaustive()
    }
}

/// What went wrong on this side.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A context could not be read.
    Context(ContextError),
    /// The result could not be written.
    Sink(std::io::Error),
}

/// The first fault of a session: the builder's own words of it are worse.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<Fault>>>);

impl Faults {
    fn put(&self, error: Fault) {
        let mut first = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        first.get_or_insert(error);
    }

    fn take(&self) -> Option<Fault> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The builder refuses it.
    #[error("the builder opens no session")]
    Refused(#[source] Status),
    /// A word cannot be sent.
    #[error("the session has an invalid name")]
    Name,
}

/// A session; it ends when it is dropped.
#[derive(Debug)]
pub struct Session {
    id: String,
    tasks: JoinSet<()>,
    faults: Faults,
}

impl Session {
    /// Opens one on `connection`.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn open(connection: &Connection, sources: Sources) -> Result<Self, SessionError> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let (reader, mut writer) = tokio::io::split(theirs);
        let (out, messages) = mpsc::channel(QUEUE);
        let mut request = Request::new(ReceiverStream::new(messages));
        let value = |text: &str| MetadataValue::try_from(text).map_err(|_| SessionError::Name);
        let metadata = request.metadata_mut();
        metadata.insert("x-docker-expose-session-uuid", value(&id)?);
        metadata.insert("x-docker-expose-session-name", value("container")?);
        metadata.insert(
            "x-docker-expose-session-sharedkey",
            value(&sources.shared_key)?,
        );
        for method in METHODS {
            let key = AsciiMetadataKey::from_static("x-docker-expose-session-grpc-method");
            metadata.append(key, value(method)?);
        }
        let faults = Faults::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(ours, sources, faults.clone()));
        tasks.spawn(send_bytes(reader, out));
        let mut replies = connection
            .control()
            .session(request)
            .await
            .map_err(SessionError::Refused)?
            .into_inner();
        tasks.spawn(async move {
            while let Ok(Some(message)) = replies.message().await {
                if writer.write_all(&message.data).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self { id, tasks, faults })
    }

    /// Its name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What went wrong on this side, if something did.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.faults.take()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// Hands what this side says to the call.
async fn send_bytes(
    mut reader: tokio::io::ReadHalf<DuplexStream>,
    out: mpsc::Sender<BytesMessage>,
) {
    let mut buffer = vec![0; BUFFER / 2];
    while let Ok(length) = reader.read(&mut buffer).await {
        let message = BytesMessage {
            data: buffer[..length].to_vec(),
        };
        if length == 0 || out.send(message).await.is_err() {
            break;
        }
    }
}

async fn serve(stream: DuplexStream, sources: Sources, faults: Faults) {
    let incoming = stream::once(async { Ok::<_, std::io::Error>(stream) }).chain(stream::pending());
    let files = files::Files::new(sources.contexts, faults.clone());
    let served = tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(HealthServer::new(Healthy))
        .add_service(FileSyncServer::new(files))
        .add_service(
            FileSendServer::new(output::Output::new(sources.output, faults))
                .max_decoding_message_size(MESSAGE_LIMIT),
        )
        .add_service(AuthServer::new(auth::NoLogins))
        .add_service(SecretsServer::new(secrets::Secrets::new(sources.secrets)))
        .add_service(SshServer::new(ssh::Agents::new(sources.agents)))
        .add_service(
            ContentServer::new(content::Stores::new(sources.stores))
                .max_decoding_message_size(MESSAGE_LIMIT),
        )
        .add_service(UploadServer::new(upload::Uploads::new(sources.upload)))
        .serve_with_incoming(incoming);
    // A connection that breaks is the build's failure.
    let _ = served.await;
}

/// What a stream of answers is.
type Replies<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Says that this client lives.
#[derive(Debug)]
struct Healthy;

const SERVING: HealthCheckResponse = HealthCheckResponse {
    status: ServingStatus::Serving as i32,
};

#[tonic::async_trait]
impl Health for Healthy {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(SERVING))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("list"))
    }

    type WatchStream = Replies<HealthCheckResponse>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = stream::once(async { Ok(SERVING) });
        Ok(Response::new(Box::pin(first.chain(stream::pending()))))
    }
}

/// Hands the bytes of `reader` on as messages.
fn pump(mut reader: impl AsyncRead + Send + Unpin + 'static) -> Replies<Vec<u8>> {
    let (out, pieces) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut buffer = vec![0; BUFFER / 8];
        loop {
            let piece = match reader.read(&mut buffer).await {
                Ok(0) => break,
                Ok(length) => Ok(buffer[..length].to_vec()),
                Err(error) => Err(Status::aborted(error.to_string())),
            };
            let is_last = piece.is_err();
            if out.send(piece).await.is_err() || is_last {
                break;
            }
        }
    });
    Box::pin(ReceiverStream::new(pieces))
}

/// The first value of a header, where there is one.
fn header<'a, T>(request: &'a Request<T>, name: &str) -> Option<&'a str> {
    request.metadata().get(name)?.to_str().ok()
}

/// A stream that nobody reads.
fn unused<T>(_: Streaming<T>) {}
