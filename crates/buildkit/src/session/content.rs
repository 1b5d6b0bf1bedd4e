//! containerd's `Content`: blobs of image layouts on this side, which the builder reads base images and caches from and writes caches to.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Replies, header};
use crate::content::{Blob, ContentError, Store};
use crate::generated::content::content_server::Content;
use crate::generated::content::{
    AbortRequest, DeleteContentRequest, Info, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, ReadContentRequest,
    ReadContentResponse, StatusRequest, StatusResponse, UpdateRequest, UpdateResponse, WriteAction,
    WriteContentRequest, WriteContentResponse,
};

/// The header that says which store is meant.
const STORE: &str = "buildkit-attachable-store-id";
/// Bytes of one answer.
const PIECE: usize = 256 << 10;
/// Answers that wait for the builder.
const QUEUE: usize = 4;

/// Stores by their names.
pub struct Stores {
    stores: HashMap<String, Store>,
}

impl Stores {
    /// Those that the build names.
    pub fn new(stores: HashMap<String, Store>) -> Self {
        Self { stores }
    }

    fn choose<T>(&self, request: &Request<T>) -> Result<&Store, Status> {
        let name = header(request, STORE).unwrap_or_default();
        let store = self.stores.get(name);
        store.ok_or_else(|| Status::not_found(format!("unknown store {name}")))
    }
}

impl From<ContentError> for Status {
    fn from(error: ContentError) -> Self {
        let words = error.to_string();
        match error {
            ContentError::NotFound(_) => Self::not_found(words),
            ContentError::Exists(_) => Self::already_exists(words),
            ContentError::ReadOnly => Self::permission_denied(words),
            ContentError::Other { .. } | ContentError::Index { .. } => {
                Self::failed_precondition(words)
            }
            ContentError::Io { .. } => Self::aborted(words),
        }
    }
}

/// As the protocol has sizes.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[tonic::async_trait]
impl Content for Stores {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let store = self.choose(&request)?;
        let digest = request.get_ref().digest.clone();
        let found = store.open(&digest)?.metadata()?;
        let size = signed(found.len());
        let info = Some(Info { digest, size });
        Ok(Response::new(InfoResponse { info }))
    }

    type ReadStream = Replies<ReadContentResponse>;

    async fn read(
        &self,
        request: Request<ReadContentRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let store = self.choose(&request)?;
        let wanted = request.get_ref();
        let file = store.open(&wanted.digest)?;
        let length = file.metadata()?.len();
        let begin = u64::try_from(wanted.offset).map_err(|_| Status::out_of_range("offset"))?;
        let end = match u64::try_from(wanted.size) {
            Ok(size) if size > 0 => begin.saturating_add(size).min(length),
            _ => length,
        };
        let (out, pieces) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || send(&file, begin, end, &out));
        Ok(Response::new(Box::pin(ReceiverStream::new(pieces))))
    }

    type WriteStream = Replies<WriteContentResponse>;

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let store = self.choose(&request)?.clone();
        let mut requests = request.into_inner();
        let (out, answers) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            if let Err(status) = take(&store, &mut requests, &out).await {
                let _ = out.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    // Labels are the builder's own affair, and are kept nowhere.
    async fn update(
        &self,
        request: Request<UpdateRequest>,
    ) -> Result<Response<UpdateResponse>, Status> {
        let store = self.choose(&request)?;
        let digest = request.get_ref().info.clone().unwrap_or_default().digest;
        let size = signed(store.open(&digest)?.metadata()?.len());
        let info = Some(Info { digest, size });
        Ok(Response::new(UpdateResponse { info }))
    }

    type ListStream = Replies<ListContentResponse>;

    async fn list(
        &self,
        _: Request<ListContentRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("list"))
    }

    async fn delete(&self, _: Request<DeleteContentRequest>) -> Result<Response<()>, Status> {
        Err(Status::permission_denied("nothing is deleted"))
    }

    // A blob that was begun is given up with its call, so there is none to tell of.
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Err(Status::not_found("no such blob"))
    }

    async fn list_statuses(
        &self,
        _: Request<ListStatusesRequest>,
    ) -> Result<Response<ListStatusesResponse>, Status> {
        Ok(Response::new(ListStatusesResponse::default()))
    }

    async fn abort(&self, _: Request<AbortRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }
}

/// Sends the bytes of `file` from `begin` to `end`.
fn send(
    file: &File,
    begin: u64,
    end: u64,
    out: &mpsc::Sender<Result<ReadContentResponse, Status>>,
) {
    let mut place = begin;
    let mut buffer = vec![0; PIECE];
    while place < end {
        let wanted = usize::try_from(end - place).unwrap_or(PIECE).min(PIECE);
        let piece = match file.read_at(&mut buffer[..wanted], place) {
            Ok(0) => Err(Status::aborted("a blob became shorter")),
            Ok(length) => Ok(ReadContentResponse {
                offset: signed(place),
                data: Bytes::copy_from_slice(&buffer[..length]),
            }),
            Err(error) => Err(Status::aborted(error.to_string())),
        };
        let length = piece.as_ref().map(|piece| piece.data.len() as u64);
        let more = length.as_ref().ok().copied();
        if out.blocking_send(piece).is_err() {
            return;
        }
        let Some(length) = more else { return };
        place += length;
    }
}

/// Takes one blob: it is begun by the first request, and is there after the one that commits it.
async fn take(
    store: &Store,
    requests: &mut Streaming<WriteContentRequest>,
    out: &mpsc::Sender<Result<WriteContentResponse, Status>>,
) -> Result<(), Status> {
    let mut blob: Option<Blob> = None;
    let mut expected = String::new();
    let mut total = 0;
    while let Some(request) = requests.message().await? {
        if !request.expected.is_empty() {
            expected.clone_from(&request.expected);
        }
        if request.total > 0 {
            total = request.total;
        }
        let mut current = match blob.take() {
            Some(blob) => blob,
            None => store.begin(&expected)?,
        };
        let action = request.action();
        let mut answer = WriteContentResponse {
            action: action.into(),
            total,
            ..WriteContentResponse::default()
        };
        if action != WriteAction::Stat {
            let offset = u64::try_from(request.offset).unwrap_or(u64::MAX);
            if offset == 0 && current.length() > 0 && action == WriteAction::Write {
                current.clear()?;
            } else if offset != 0 && offset != current.length() {
                let words = format!("write at {offset} of {}", current.length());
                return Err(Status::out_of_range(words));
            }
            current.write(&request.data)?;
        }
        answer.offset = signed(current.length());
        if action == WriteAction::Commit {
            let size = u64::try_from(total).unwrap_or(0);
            answer.digest = current.commit(&expected, size)?;
            let _ = out.send(Ok(answer)).await;
            return Ok(());
        }
        blob = Some(current);
        if out.send(Ok(answer)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
