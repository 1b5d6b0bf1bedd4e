//! A builder that follows a script.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::google;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::GetSecretRequest;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
use bollard_buildkit_proto::moby::buildkit::v1::control_server::{Control, ControlServer};
use bollard_buildkit_proto::moby::buildkit::v1::*;
use bollard_buildkit_proto::moby::filesync;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_client::FileSyncClient;
use bollard_buildkit_proto::moby::filesync::v1::file_send_client::FileSendClient;
use bollard_buildkit_proto::pb::{Position, Range, SourceInfo};
use container_buildkit::protocol::content::content_client::ContentClient;
use container_buildkit::protocol::content::{ReadContentRequest, WriteAction, WriteContentRequest};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// What it does.
pub struct Script {
    /// Asks for the bytes of all files.
    pub asks: bool,
    /// Asks for these numbers, too.
    pub also_asks: Vec<u32>,
    pub directory: String,
    pub exclude: Vec<String>,
    pub secret: Option<String>,
    pub result: Vec<u8>,
    /// Writes this to the cache `to`, and reads what it finds of it and of the digest in the images.
    pub cache: Option<(Vec<u8>, String)>,
    /// Words, and a line.
    pub failure: Option<(String, i32)>,
    pub before_files: Option<Box<dyn Fn() + Send + Sync>>,
    pub hangs: bool,
    pub dies: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            asks: true,
            also_asks: Vec::new(),
            directory: "context".to_owned(),
            exclude: Vec::new(),
            secret: None,
            result: Vec::new(),
            cache: None,
            failure: None,
            before_files: None,
            hangs: false,
            dies: false,
        }
    }
}

/// What it was given.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub request: SolveRequest,
    pub told: Vec<String>,
    pub files: HashMap<String, Vec<u8>>,
    pub secret: Vec<u8>,
    pub shared_key: String,
    /// What became of each thing that was tried with blobs.
    pub blobs: Vec<Result<Vec<u8>, tonic::Code>>,
}

/// It listens in a thread of its own.
pub struct Builder {
    pub socket: PathBuf,
    state: Arc<State>,
    _place: tempfile::TempDir,
    _stop: mpsc::Sender<()>,
}

struct State {
    script: Script,
    seen: Mutex<Seen>,
    sessions: watch::Sender<HashMap<String, Channel>>,
    hangs: Notify,
    given_up: Notify,
    stop: Notify,
}

impl Builder {
    pub fn start(script: Script) -> Self {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("s");
        let state = Arc::new(State {
            script,
            seen: Mutex::default(),
            sessions: watch::Sender::default(),
            hangs: Notify::new(),
            given_up: Notify::new(),
            stop: Notify::new(),
        });
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, mut stopped) = mpsc::channel(1);
        let serving = state.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = UnixListener::from_std(listener).unwrap();
                let server = Server::builder()
                    .add_service(ControlServer::new(Scripted(serving.clone())))
                    .serve_with_incoming(UnixListenerStream::new(listener));
                tokio::select! {
                    served = server => served.unwrap(),
                    _ = stopped.recv() => {}
                    () = serving.stop.notified() => {}
                }
            });
            runtime.shutdown_timeout(Duration::ZERO);
        });
        Self {
            socket,
            state,
            _place: place,
            _stop: stop,
        }
    }

    pub fn seen(&self) -> Seen {
        self.state.seen.lock().unwrap().clone()
    }

    /// Drops `build` as soon as the builder hangs over it.
    pub async fn while_it_hangs<T>(&self, build: impl Future<Output = T>) {
        tokio::select! {
            _ = build => panic!("it has ended"),
            () = self.state.hangs.notified() => {}
        }
    }

    pub async fn given_up(&self) {
        self.state.given_up.notified().await;
    }
}

/// Says that it was dropped.
struct OnDrop(Arc<State>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.given_up.notify_one();
    }
}

struct Scripted(Arc<State>);

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Control for Scripted {
    async fn solve(
        &self,
        request: Request<SolveRequest>,
    ) -> Result<Response<SolveResponse>, Status> {
        let state = &self.0;
        let script = &state.script;
        let request = request.into_inner();
        let mut sessions = state.sessions.subscribe();
        let session = sessions
            .wait_for(|sessions| sessions.contains_key(&request.session))
            .await
            .unwrap()
            .get(&request.session)
            .unwrap()
            .clone();
        state.seen.lock().unwrap().request = request;
        if script.dies {
            state.stop.notify_one();
            std::future::pending::<()>().await;
        }
        if script.hangs {
            let _given_up = OnDrop(state.clone());
            state.hangs.notify_one();
            std::future::pending::<()>().await;
        }
        if let Some((words, line)) = &script.failure {
            return Err(failure(words, *line));
        }
        state.take_files(session.clone()).await?;
        if let Some(id) = &script.secret {
            let request = GetSecretRequest {
                id: id.clone(),
                ..GetSecretRequest::default()
            };
            let secret = SecretsClient::new(session.clone())
                .get_secret(request)
                .await?;
            state.seen.lock().unwrap().secret = secret.into_inner().data;
        }
        if let Some((bytes, digest)) = &script.cache {
            state.use_blobs(session.clone(), bytes, digest).await;
        }
        if !script.result.is_empty() {
            let pieces: Vec<_> = script
                .result
                .chunks(1 << 20)
                .map(|piece| filesync::v1::BytesMessage {
                    data: piece.to_vec(),
                })
                .collect();
            let mut replies = FileSendClient::new(session)
                .diff_copy(tokio_stream::iter(pieces))
                .await?
                .into_inner();
            // The client closes when it has written all.
            while replies.message().await?.is_some() {}
        }
        Ok(Response::new(SolveResponse {
            exporter_response: HashMap::from([(
                "containerimage.digest".to_owned(),
                "sha256:1".to_owned(),
            )]),
        }))
    }

    type StatusStream = Replies<StatusResponse>;

    async fn status(
        &self,
        _: Request<StatusRequest>,
    ) -> Result<Response<Self::StatusStream>, Status> {
        let moment = |seconds| Some(google::protobuf::Timestamp { seconds, nanos: 0 });
        let vertex = Vertex {
            digest: "sha256:a".to_owned(),
            name: "[1/1] RUN true".to_owned(),
            started: moment(1),
            completed: moment(2),
            ..Vertex::default()
        };
        let update = StatusResponse {
            vertexes: vec![vertex],
            ..StatusResponse::default()
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(update)]))))
    }

    type SessionStream = Replies<BytesMessage>;

    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let header = |name: &str| {
            let value = request.metadata().get(name);
            value.unwrap().to_str().unwrap().to_owned()
        };
        let id = header("x-docker-expose-session-uuid");
        self.0.seen.lock().unwrap().shared_key = header("x-docker-expose-session-sharedkey");
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (mut reader, mut writer) = tokio::io::split(theirs);
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                writer.write_all(&message.data).await.unwrap();
            }
        });
        let (out, replies) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut buffer = vec![0; 32 << 10];
            while let Ok(length) = reader.read(&mut buffer).await {
                let data = buffer[..length].to_vec();
                if length == 0 || out.send(Ok(BytesMessage { data })).await.is_err() {
                    break;
                }
            }
        });
        let mut ours = Some(TokioIo::new(ours));
        let connector = tower::service_fn(move |_| {
            let stream = ours.take();
            async move { stream.ok_or(io::Error::other("it is one connection")) }
        });
        let channel =
            Endpoint::from_static("http://client.invalid").connect_with_connector_lazy(connector);
        self.0.sessions.send_modify(|sessions| {
            sessions.insert(id, channel);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        Ok(Response::new(ListWorkersResponse::default()))
    }

    async fn disk_usage(
        &self,
        _: Request<DiskUsageRequest>,
    ) -> Result<Response<DiskUsageResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type PruneStream = Replies<UsageRecord>;

    async fn prune(&self, _: Request<PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type ListenBuildHistoryStream = Replies<BuildHistoryEvent>;

    async fn listen_build_history(
        &self,
        _: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn update_build_history(
        &self,
        _: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A request for the store `name`.
fn of_store<T>(name: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = name.parse().unwrap();
    request
        .metadata_mut()
        .insert("buildkit-attachable-store-id", value);
    request
}

async fn write_blob(
    client: &mut ContentClient<Channel>,
    store: &str,
    bytes: &[u8],
) -> Result<Vec<u8>, Status> {
    let step = |action: WriteAction, offset: usize, data: &[u8]| WriteContentRequest {
        action: action.into(),
        r#ref: "one".to_owned(),
        total: i64::try_from(bytes.len()).unwrap(),
        offset: i64::try_from(offset).unwrap(),
        data: data.to_vec().into(),
        ..WriteContentRequest::default()
    };
    let half = bytes.len() / 2;
    let steps = vec![
        step(WriteAction::Stat, 0, b""),
        step(WriteAction::Write, 0, &bytes[..half]),
        step(WriteAction::Write, half, &bytes[half..]),
        step(WriteAction::Commit, bytes.len(), b""),
    ];
    let request = of_store(store, tokio_stream::iter(steps));
    let mut answers = client.write(request).await?.into_inner();
    let mut last = Vec::new();
    while let Some(answer) = answers.message().await? {
        last = answer.digest.into_bytes();
    }
    Ok(last)
}

async fn read_blob(
    client: &mut ContentClient<Channel>,
    store: &str,
    digest: &str,
) -> Result<Vec<u8>, Status> {
    let message = ReadContentRequest {
        digest: digest.to_owned(),
        ..ReadContentRequest::default()
    };
    let mut pieces = client.read(of_store(store, message)).await?.into_inner();
    let mut all = Vec::new();
    while let Some(piece) = pieces.message().await? {
        all.extend_from_slice(&piece.data);
    }
    Ok(all)
}

impl State {
    async fn use_blobs(&self, session: Channel, bytes: &[u8], image: &str) {
        let client = &mut ContentClient::new(session);
        let mut seen = vec![write_blob(client, "local:to", bytes).await];
        let written = String::from_utf8(seen[0].clone().unwrap_or_default()).unwrap();
        seen.push(read_blob(client, "local:to", &written).await);
        seen.push(read_blob(client, "oci:images", image).await);
        seen.push(read_blob(client, "oci:images", &written).await);
        seen.push(write_blob(client, "oci:images", bytes).await);
        seen.push(read_blob(client, "local:other", &written).await);
        let seen = seen
            .into_iter()
            .map(|result| result.map_err(|status| status.code()));
        self.seen.lock().unwrap().blobs = seen.collect();
    }

    /// As fsutil's receiver: takes all that it is told, and asks for files.
    async fn take_files(&self, session: Channel) -> Result<(), Status> {
        let script = &self.script;
        let (out, packets) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(packets));
        let metadata = request.metadata_mut();
        metadata.insert("dir-name", script.directory.parse().unwrap());
        for pattern in &script.exclude {
            metadata.append("exclude-patterns", pattern.parse().unwrap());
        }
        let mut client = FileSyncClient::new(session);
        let mut replies = client.diff_copy(request).await?.into_inner();
        let mut names = Vec::new();
        let mut asked = 0;
        let ask = |id| Packet {
            r#type: PacketType::PacketReq.into(),
            id,
            ..Packet::default()
        };
        let fin = Packet {
            r#type: PacketType::PacketFin.into(),
            ..Packet::default()
        };
        while let Some(packet) = replies.next().await {
            let packet = packet?;
            match packet.r#type() {
                PacketType::PacketStat => {
                    if let Some(stat) = packet.stat {
                        names.push((stat.path, stat.mode));
                        continue;
                    }
                    if let Some(before) = &script.before_files {
                        before();
                    }
                    let files = names.iter().enumerate();
                    let files = files.filter(|(_, (_, mode))| mode & (1 << 31) == 0);
                    let mut numbers: Vec<u32> = files
                        .map(|(number, _)| u32::try_from(number).unwrap())
                        .collect();
                    if !script.asks {
                        numbers.clear();
                    }
                    numbers.extend(&script.also_asks);
                    for number in numbers {
                        asked += 1;
                        out.send(ask(number)).await.unwrap();
                    }
                }
                PacketType::PacketData => {
                    let (path, _) = &names[packet.id as usize];
                    let mut seen = self.seen.lock().unwrap();
                    let file = seen.files.entry(path.clone()).or_default();
                    file.extend_from_slice(&packet.data);
                    if packet.data.is_empty() {
                        asked -= 1;
                    } else {
                        continue;
                    }
                }
                PacketType::PacketFin => break,
                PacketType::PacketErr => {
                    let words = String::from_utf8_lossy(&packet.data).into_owned();
                    return Err(Status::unknown(words));
                }
                PacketType::PacketReq => panic!("a receiver gets no requests"),
            }
            if asked == 0 {
                // Who has failed meanwhile takes no more.
                let _ = out.send(fin.clone()).await;
            }
        }
        self.seen.lock().unwrap().told = names.into_iter().map(|(path, _)| path).collect();
        Ok(())
    }
}

/// What BuildKit's `errdefs.Source` is on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct Source {
    #[prost(message, optional, tag = "1")]
    info: Option<SourceInfo>,
    #[prost(message, repeated, tag = "2")]
    ranges: Vec<Range>,
}

fn failure(words: &str, line: i32) -> Status {
    let place = Some(Position { line, character: 0 });
    let source = Source {
        info: Some(SourceInfo {
            filename: "Dockerfile".to_owned(),
            data: b"FROM scratch\nRUN false\n".to_vec(),
            ..SourceInfo::default()
        }),
        ranges: vec![Range {
            start: place,
            end: place,
        }],
    };
    let details = google::rpc::Status {
        code: 2,
        message: words.to_owned(),
        details: vec![google::protobuf::Any {
            type_url: "github.com/moby/buildkit/errdefs.Source".to_owned(),
            value: source.encode_to_vec(),
        }],
    };
    Status::with_details(tonic::Code::Unknown, words, details.encode_to_vec().into())
}

/// A sink that a test can look into.
pub struct Shared(pub Arc<Mutex<Vec<u8>>>);

impl tokio::io::AsyncWrite for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
