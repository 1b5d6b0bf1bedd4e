//! What of dockerd's own API a build needs: its BuildKit writes images into dockerd's store, and takes base images out of it.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of an answer that is no image.
const ANSWER_LIMIT: usize = 1 << 20;

/// What is sent with a request.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A dockerd.
#[derive(Clone, Debug)]
pub struct Docker {
    socket: PathBuf,
}

/// Why dockerd did not do something.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// It cannot be reached.
    #[error("cannot connect to the builder")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("the builder went away")]
    Lost(#[source] hyper::Error),
    /// It says no.
    #[error("the builder refuses: {0}")]
    Refused(String),
    /// Its bytes cannot be handed on.
    #[error("cannot hand on the image")]
    Write(#[source] io::Error),
}

impl Docker {
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// The id of the image `name`, if it is there: the digest of its configuration.
    ///
    /// # Errors
    /// See [`DockerError`].
    pub async fn image_id(&self, name: &str) -> Result<Option<String>, DockerError> {
        #[derive(Deserialize)]
        struct Image {
            #[serde(rename = "Id")]
            id: String,
        }
        let path = format!("/images/{name}/json");
        let reply = self.ask(Method::GET, &path, nothing()).await?;
        if reply.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let text = text(checked(reply).await?).await?;
        let image: Image = serde_json::from_slice(&text)
            .map_err(|error| DockerError::Refused(error.to_string()))?;
        Ok(Some(image.id))
    }

    /// Its version, such as 20 for 20.10.24.
    ///
    /// # Errors
    /// See [`DockerError`].
    pub async fn major_version(&self) -> Result<u32, DockerError> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "Version")]
            version: String,
        }
        let reply = self.ask(Method::GET, "/version", nothing()).await?;
        let text = text(checked(reply).await?).await?;
        let version: Version = serde_json::from_slice(&text)
            .map_err(|error| DockerError::Refused(error.to_string()))?;
        let major = version.version.split('.').next().unwrap_or_default();
        Ok(major.parse().unwrap_or(0))
    }

    /// Writes the image `name` as an archive to `out`.
    ///
    /// # Errors
    /// See [`DockerError`].
    pub async fn save(
        &self,
        name: &str,
        mut out: impl AsyncWrite + Unpin,
    ) -> Result<(), DockerError> {
        let path = format!("/images/{name}/get");
        let mut reply = checked(self.ask(Method::GET, &path, nothing()).await?).await?;
        while let Some(frame) = reply.frame().await {
            if let Ok(bytes) = frame.map_err(DockerError::Lost)?.into_data() {
                out.write_all(&bytes).await.map_err(DockerError::Write)?;
            }
        }
        out.shutdown().await.map_err(DockerError::Write)
    }

    /// Takes the images of the archive whose pieces come.
    ///
    /// # Errors
    /// See [`DockerError`].
    pub async fn load(&self, pieces: mpsc::Receiver<io::Result<Bytes>>) -> Result<(), DockerError> {
        let frames = ReceiverStream::new(pieces).map(|piece| piece.map(Frame::data));
        let body = BodyExt::boxed(StreamBody::new(frames));
        let reply = checked(self.ask(Method::POST, "/images/load?quiet=1", body).await?).await?;
        let text = text(reply).await?;
        // A failure after the first line comes as one more line.
        let failure = text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Said>(line).ok())
            .find_map(|said| said.error);
        failure.map_or(Ok(()), |error| Err(DockerError::Refused(error)))
    }

    /// Takes the name `name` away, and the image with its last one.
    ///
    /// # Errors
    /// See [`DockerError`].
    pub async fn delete(&self, name: &str) -> Result<(), DockerError> {
        let path = format!("/images/{name}");
        let _ = checked(self.ask(Method::DELETE, &path, nothing()).await?).await?;
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response<Incoming>, DockerError> {
        let mut sender = connect(&self.socket).await.map_err(DockerError::Connect)?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path
            .parse()
            .map_err(|error| DockerError::Refused(format!("{path}: {error}")))?;
        let host = header::HeaderValue::from_static("docker");
        request.headers_mut().insert(header::HOST, host);
        let kind = header::HeaderValue::from_static("application/x-tar");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        sender
            .send_request(request)
            .await
            .map_err(DockerError::Lost)
    }
}

/// A line of an answer.
#[derive(Deserialize)]
struct Said {
    #[serde(alias = "message")]
    error: Option<String>,
}

/// The answer, if it is a good one.
async fn checked(reply: Response<Incoming>) -> Result<Incoming, DockerError> {
    let status = reply.status();
    if status.is_success() {
        return Ok(reply.into_body());
    }
    let text = text(reply.into_body()).await?;
    let said = serde_json::from_slice::<Said>(&text).ok();
    let words = said.and_then(|said| said.error);
    Err(DockerError::Refused(
        words.unwrap_or_else(|| status.to_string()),
    ))
}

async fn text(body: Incoming) -> Result<Bytes, DockerError> {
    let whole = Limited::new(body, ANSWER_LIMIT).collect().await;
    whole
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| DockerError::Refused(error.to_string()))
}

/// A connection that takes one request.
pub(crate) async fn connect(socket: &Path) -> io::Result<http1::SendRequest<Body>> {
    let stream = UnixStream::connect(socket).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // It ends with the connection; its failure is the request's.
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

/// No body.
pub(crate) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}
