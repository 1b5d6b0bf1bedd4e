//! Serves connection after connection on the port until the guest shuts down.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use container_api::Chain;
use container_api::guest::guest_server::GuestServer;
use container_api::relay;
use container_api::streams::{SocketConnection, StandardStream};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::body::Body;
use tonic::codegen::Service as _;

use super::PortStream;
use crate::fatal::say;
use crate::service::Service;
use crate::{sockets, stdio};

/// Bytes in flight per stream, into the guest. Wide enough for one round trip under emulation.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes in flight of all streams, which is memory that the guest may have to give: dozens may stall, and every relayed
/// connection, before they hold up another.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024 + relay::STREAMS * STREAM_WINDOW;
/// Largest frame that the host may send.
const FRAME_MAX: u32 = 128 * 1024;
/// Calls at a time: each process of a container may need five.
const STREAMS_MAX: u32 = 8192;
/// Bytes buffered per stream on the way out.
const SEND_BUFFER: usize = 256 * 1024;
/// How long the last answers may take after a shutdown.
const FAREWELL: Duration = Duration::from_secs(2);

/// Returns when a shutdown was asked for and answered.
pub async fn serve(port: OwnedFd, service: Service) -> io::Result<()> {
    let port = Arc::new(port);
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .auto_date_header(false);
    loop {
        let stream = PortStream::new(Arc::clone(&port))?;
        stream.connected().await?;
        let host = PortStream::new(Arc::clone(&port))?;
        let served = service.clone();
        let calls = service_fn(move |request| answer(served.clone(), request));
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), calls));
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    say(&format!("channel: {}", Chain(&error)));
                }
                if !service.is_shut_down() {
                    continue;
                }
            }
            () = service.shut_down() => {
                connection.as_mut().graceful_shutdown();
                // The host hangs up when it has every answer, which a write's return doesn't tell: the host may take
                // what was written later. Streams that it never reads must not keep the machine.
                let farewell = async {
                    tokio::select! {
                        _ = host.disconnected() => {}
                        () = async { let _ = connection.await; pending().await } => {}
                    }
                };
                let _ = tokio::time::timeout(FAREWELL, farewell).await;
            }
        }
        return Ok(());
    }
}

/// A call, a standard stream of a process, or a connection of a socket.
async fn answer(
    service: Service,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if let Some(connection) = SocketConnection::parse(&path) {
        return Ok(sockets::serve(service.agent(), connection, request).await);
    }
    match StandardStream::parse(&path) {
        Some((stream, id)) => Ok(stdio::serve(service.agent(), stream, id, request).await),
        None => GuestServer::new(service).call(request).await,
    }
}
