//! `Upload`: a context that is a tar on standard input.

use std::sync::{Mutex, PoisonError};

use bollard_buildkit_proto::moby::upload::v1::BytesMessage;
use bollard_buildkit_proto::moby::upload::v1::upload_server::Upload;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

use super::{Replies, header, pump, unused};

/// Where the tar comes from, and its name. It can be read once.
pub struct Uploads {
    upload: Mutex<Option<(String, super::Upload)>>,
}

impl Uploads {
    /// `None`: there is none.
    pub fn new(upload: Option<(String, super::Upload)>) -> Self {
        Self {
            upload: Mutex::new(upload),
        }
    }
}

#[tonic::async_trait]
impl Upload for Uploads {
    type PullStream = Replies<BytesMessage>;

    async fn pull(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let path = header(&request, "urlpath").unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut upload = self.upload.lock().unwrap_or_else(PoisonError::into_inner);
        let found = upload.take_if(|(known, _)| *known == name);
        let (_, reader) = found.ok_or_else(|| Status::not_found("no such upload"))?;
        unused(request.into_inner());
        let replies = pump(reader).map(|piece| piece.map(|data| BytesMessage { data }));
        Ok(Response::new(Box::pin(replies)))
    }
}
