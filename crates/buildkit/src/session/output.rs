//! `FileSend`: the result of a build, as one stream of bytes.

use std::sync::{Mutex, PoisonError};

use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_server::FileSend;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Fault, Faults, Replies, Sink};

/// Where the result goes. It comes once.
pub struct Output {
    sink: Mutex<Option<Sink>>,
    faults: Faults,
}

impl Output {
    /// `None`: no result is expected this way.
    pub fn new(sink: Option<Sink>, faults: Faults) -> Self {
        Self {
            sink: Mutex::new(sink),
            faults,
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
        let faults = self.faults.clone();
        tokio::spawn(async move {
            // The stream of answers ends when all is written, which the builder waits for.
            if let Err(status) = take(&mut messages, &mut sink, &faults).await {
                let _ = out.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }
}

async fn take(
    messages: &mut Streaming<BytesMessage>,
    sink: &mut Sink,
    faults: &Faults,
) -> Result<(), Status> {
    let not_taken = |error: std::io::Error| {
        let status = Status::aborted(format!("the client cannot take the result: {error}"));
        faults.put(Fault::Sink(error));
        status
    };
    while let Some(message) = messages.message().await? {
        sink.write_all(&message.data).await.map_err(not_taken)?;
    }
    sink.shutdown().await.map_err(not_taken)
}
