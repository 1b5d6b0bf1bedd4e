//! The parts of dockerd's own API that a build needs: its BuildKit writes images into dockerd's store, and reads base images from it.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_util::io::ReaderStream;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of an answer that is no image.
const ANSWER_LIMIT: usize = 1 << 20;
/// Bytes of an archive that are handed on at once.
const PIECE: usize = 256 << 10;

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
    /// Its answer is not what it should be.
    #[error("the builder gave an answer that makes no sense")]
    Answer(#[source] serde_json::Error),
    /// Its answer is too long, or breaks off.
    #[error("the builder's answer cannot be read")]
    Unread(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No image can have this name.
    #[error("{0} cannot be asked for at a builder")]
    Name(String, #[source] hyper::http::uri::InvalidUri),
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
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let text = reply.checked().await?.text().await?;
        let image: Image = serde_json::from_slice(&text).map_err(DockerError::Answer)?;
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
        let text = reply.checked().await?.text().await?;
        let version: Version = serde_json::from_slice(&text).map_err(DockerError::Answer)?;
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
        let asked = self.ask(Method::GET, &path, nothing()).await?;
        let mut reply = asked.checked().await?;
        while let Some(frame) = reply.body.frame().await {
            if let Ok(bytes) = frame.map_err(DockerError::Lost)?.into_data() {
                out.write_all(&bytes).await.map_err(DockerError::Write)?;
            }
        }
        out.shutdown().await.map_err(DockerError::Write)
    }

    /// Takes the images of the `archive`. It is dropped when dockerd has read enough of it, so that its writer learns of that.
    ///
    /// # Errors
    /// See [`DockerError`].
    pub async fn load(
        &self,
        archive: impl AsyncRead + Send + Sync + 'static,
    ) -> Result<(), DockerError> {
        let frames = ReaderStream::with_capacity(archive, PIECE);
        let body = BodyExt::boxed(StreamBody::new(frames.map_ok(Frame::data)));
        let asked = self.ask(Method::POST, "/images/load?quiet=1", body).await?;
        let text = asked.checked().await?.text().await?;
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
        let asked = self.ask(Method::DELETE, &path, nothing()).await?;
        asked.checked().await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str, body: Body) -> Result<Reply, DockerError> {
        let (mut sender, line) = connect(&self.socket).await.map_err(DockerError::Connect)?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path
            .parse()
            .map_err(|error| DockerError::Name(path.to_owned(), error))?;
        let host = header::HeaderValue::from_static("docker");
        request.headers_mut().insert(header::HOST, host);
        let kind = header::HeaderValue::from_static("application/x-tar");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(DockerError::Lost)?.into_parts();
        Ok(Reply {
            status: head.status,
            body,
            _line: line,
        })
    }
}

/// A line of an answer.
#[derive(Deserialize)]
struct Said {
    #[serde(alias = "message")]
    error: Option<String>,
}

/// An answer. The connection ends with it, whatever is still on its way.
struct Reply {
    status: StatusCode,
    body: Incoming,
    _line: Line,
}

impl Reply {
    /// Itself, if it is a good one.
    async fn checked(self) -> Result<Self, DockerError> {
        let status = self.status;
        if status.is_success() {
            return Ok(self);
        }
        let text = self.text().await?;
        let said = serde_json::from_slice::<Said>(&text).ok();
        let words = said.and_then(|said| said.error);
        Err(DockerError::Refused(
            words.unwrap_or_else(|| status.to_string()),
        ))
    }

    async fn text(self) -> Result<Bytes, DockerError> {
        let whole = Limited::new(self.body, ANSWER_LIMIT).collect().await;
        whole
            .map(http_body_util::Collected::to_bytes)
            .map_err(DockerError::Unread)
    }
}

/// Who moves the bytes of a connection: it ends when this is dropped.
pub(crate) type Line = AbortOnDropHandle<()>;

/// A connection that takes one request.
pub(crate) async fn connect(socket: &Path) -> io::Result<(http1::SendRequest<Body>, Line)> {
    let stream = UnixStream::connect(socket).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let line = tokio::spawn(async move {
        // Its failure is the request's.
        let _ = connection.with_upgrades().await;
    });
    Ok((sender, Line::new(line)))
}

/// No body.
pub(crate) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixListener;
    use tokio::net::unix::pipe::Receiver;

    use super::*;

    /// A dockerd that reads a little of a request, says `answer`, and then neither reads nor goes away.
    fn dockerd(socket: &Path, answer: &'static str) {
        let listener = UnixListener::bind(socket).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 300]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
    }

    #[tokio::test]
    async fn an_archive_that_is_not_wanted_is_let_go_of() {
        for answer in [
            "HTTP/1.1 500 no\r\ncontent-length: 16\r\n\r\n{\"message\":\"no\"}",
            "HTTP/1.1 200 ok\r\ncontent-length: 14\r\n\r\n{\"error\":\"no\"}",
        ] {
            let place = tempfile::tempdir().unwrap();
            let socket = place.path().join("s");
            dockerd(&socket, answer);
            let (reader, writer) = rustix::pipe::pipe().unwrap();
            rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::NONBLOCK).unwrap();
            // It writes until the reader has gone.
            let writing = std::thread::spawn(move || {
                let piece = vec![0; 64 << 10];
                let mut writer = std::fs::File::from(writer);
                while writer.write_all(&piece).is_ok() {}
            });
            let reader = Receiver::from_owned_fd(reader).unwrap();
            let docker = Docker::new(&socket);
            let loading = docker.load(reader);
            let loaded = tokio::time::timeout(Duration::from_secs(20), loading).await;
            let refused = loaded.unwrap().unwrap_err().to_string();
            assert_eq!(refused, "the builder refuses: no");
            tokio::task::spawn_blocking(|| writing.join().unwrap())
                .await
                .unwrap();
        }
    }
}
