//! `FileSend`: the result of a build, as one stream of bytes.

use std::sync::{Mutex, PoisonError};

use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_server::FileSend;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Replies, Sink};

/// Where the result goes. It comes once.
pub struct Output {
    sink: Mutex<Option<Sink>>,
}

impl Output {
    /// `None`: no result is expected this way.
    pub fn new(sink: Option<Sink>) -> Self {
        Self {
            sink: Mutex::new(sink),
        }
    }
}

#[tonic::async_trait]
impl FileSend for Output {
    type DiffCopyStream = Replies<BytesMessage>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let sink = self
            .sink
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut sink) = sink else {
            return Err(Status::already_exists("no result is expected"));
        };
        let mut messages = request.into_inner();
        let (out, replies) = mpsc::channel(1);
        tokio::spawn(async move {
            let taken = async {
                while let Some(message) = messages.message().await? {
                    sink.write_all(&message.data).await?;
                }
                sink.shutdown().await?;
                Ok::<_, Failure>(())
            };
            // The stream of answers ends when all is written, which the builder waits for.
            if let Err(failure) = taken.await {
                let _ = out.send(Err(Status::aborted(failure.0))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }
}

/// What the builder says of a result that this side could not take: its own failure is told to the caller otherwise.
pub const NOT_TAKEN: &str = "cannot take the result";

struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(format!("{NOT_TAKEN}: {error}"))
    }
}
