//! The host's side of the guest channel.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::{Stream, StreamExt};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use crate::guest::guest_client::GuestClient;
use crate::relay::{self, Relay, Said};
use crate::streams::{SocketConnection, StandardStream};

/// The most bytes of one message from the guest.
const MESSAGE_LIMIT: usize = 1 << 20;
/// Bytes in flight per stream before the other side must take some.
const STREAM_WINDOW: u32 = 512 << 10;
/// Bytes in flight over all streams: those of relayed connections, and others.
const CONNECTION_WINDOW: u32 = relay::STREAMS * STREAM_WINDOW + (8 << 20);
/// Largest frame that the guest may send. Each costs it, the VMM and the host a notification.
const FRAME_MAX: u32 = 128 << 10;
/// Bytes of one answer's headers or trailers, as HTTP/2 counts them. Ours have some 100, and a message.
const HEADERS_MAX: u32 = 16 << 10;
/// Scheme and authority of requests, which nobody resolves.
const ORIGIN: &str = "http://guest.invalid";

/// A guest: calls into it, and its processes' standard streams, over one connection that clones share.
#[derive(Clone, Debug)]
pub struct Guest {
    connection: Connection,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Calls into a guest.
pub type Calls = GuestClient<Connection>;

/// The one connection of a guest. Not tonic's own, which takes frames of 16 KiB only.
#[derive(Clone, Debug)]
pub struct Connection(http2::SendRequest<Body>);

impl Guest {
    /// Speaks HTTP/2 over `channel`, which must be past the guest's hello. The guest's answer is not waited for.
    ///
    /// # Errors
    /// When the channel broke.
    pub async fn connect(
        channel: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> hyper::Result<Self> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_MAX)
            .max_header_list_size(HEADERS_MAX)
            .handshake(TokioIo::new(channel))
            .await?;
        // Its error is that of every call that is under way.
        tokio::spawn(connection);
        Ok(Self {
            connection: Connection(sender),
        })
    }

    /// Calls into the guest.
    pub fn calls(&self) -> Calls {
        let origin = http::Uri::from_static(ORIGIN);
        GuestClient::with_origin(self.connection.clone(), origin)
            .max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Feeds `data` to the standard input of `process` and closes it. Returns early when the process ends or
    /// closes its input.
    ///
    /// # Errors
    /// The guest's, or that of the connection.
    pub async fn stdin(
        &self,
        process: &str,
        data: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<(), Status> {
        let frames = data.map(|data| Ok::<_, Status>(Frame::data(data)));
        let body = Body::new(StreamBody::new(frames));
        let answer = self.request(StandardStream::Stdin, process, body).await;
        answer.map(drop)
    }

    /// Reads a standard `stream` of `process`.
    ///
    /// # Errors
    /// As [`Self::stdin`].
    pub async fn output(&self, stream: StandardStream, process: &str) -> Result<Output, Status> {
        let body = self.request(stream, process, Body::empty()).await?;
        Ok(Output(body))
    }

    /// Opens `connection`: a relay for the host's end of it, and what its other end says. A socket of the guest's is waited for as
    /// long as nobody connects to it. When this is cancelled, so is the connection.
    ///
    /// # Errors
    /// As [`Self::stdin`]; the guest's also where nobody listens in the container.
    pub async fn socket(&self, connection: SocketConnection) -> Result<(Relay, Said), Status> {
        let (relay, body) = Relay::new();
        let said = self
            .send(http::Method::POST, &connection.path(), body)
            .await?;
        Ok((relay, said))
    }

    async fn request(
        &self,
        stream: StandardStream,
        process: &str,
        body: Body,
    ) -> Result<Incoming, Status> {
        let method = match stream {
            StandardStream::Stdin => http::Method::POST,
            StandardStream::Stdout | StandardStream::Stderr => http::Method::GET,
        };
        self.send(method, &stream.path(process), body).await
    }

    async fn send(&self, method: http::Method, path: &str, body: Body) -> Result<Incoming, Status> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{ORIGIN}{path}"))
            .body(body)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut connection = self.connection.clone();
        std::future::poll_fn(|context| connection.poll_ready(context))
            .await
            .map_err(Status::from_error)?;
        let response = connection.call(request).await.map_err(Status::from_error)?;
        match Status::from_header_map(response.headers()) {
            Some(status) => Err(status),
            None => Ok(response.into_body()),
        }
    }
}

/// A standard stream's bytes.
#[derive(Debug)]
pub struct Output(Incoming);

impl Output {
    /// The next bytes, as many as the guest sent at once; `None` at the end.
    ///
    /// # Errors
    /// When the guest gave up the stream, or the connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        while let Some(frame) = self.0.frame().await {
            // Trailers are of no interest.
            let frame = frame.map_err(|error| Status::from_error(classify(error)))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// An error of the connection, not of one stream, becomes an I/O error: a status with that behind it is
/// [`crate::Kind::Unavailable`].
fn classify(error: hyper::Error) -> BoxError {
    let io = matches!(error.source(), Some(source) if source.is::<io::Error>());
    if io || error.is_closed() || error.is_canceled() {
        let text = format!("the guest channel broke: {error}");
        io::Error::new(io::ErrorKind::BrokenPipe, text).into()
    } else {
        error.into()
    }
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // What is broken is told by the call itself: of an error here tonic would make one without a cause.
        self.0.poll_ready(context).map(|_| Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let response = self.0.send_request(request);
        Box::pin(async { response.await.map_err(classify) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::ResetRequest;
    use crate::{Error, Kind};

    #[tokio::test]
    async fn a_channel_that_breaks_under_a_call_is_told_from_an_answer() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let guest = Guest::connect(ours).await.unwrap();
        let mut calls = guest.calls();
        let (status, ()) = tokio::join!(calls.reset(ResetRequest {}), async { drop(theirs) });
        let error = Error::from(status.unwrap_err());
        assert_eq!(error.kind, Kind::Unavailable, "{error}");
        assert!(
            error.message().starts_with("the guest channel broke"),
            "{error}"
        );
        let error = Error::from(calls.reset(ResetRequest {}).await.unwrap_err());
        assert_eq!(error.kind, Kind::Unavailable, "{error}");
        let error = Error::from(guest.output(StandardStream::Stdout, "x").await.unwrap_err());
        assert_eq!(error.kind, Kind::Unavailable, "{error}");
    }
}
