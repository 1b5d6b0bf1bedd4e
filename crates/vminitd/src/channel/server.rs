//! Serves connection after connection on the port until the guest shuts down.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use container_api::guest::guest_server::GuestServer;
use container_api::streams::StandardStream;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tonic::body::Body;
use tonic::codegen::Service as _;

use super::PortStream;
use crate::fatal::say;
use crate::service::Service;
use crate::stdio;

/// Bytes in flight per stream, into the guest. Wide enough for one round trip under emulation.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes in flight of all streams, which is memory that the guest may have to give: dozens may stall
/// before they hold up another.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
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
                    say(&format!("channel: {}", crate::fatal::chain(&error)));
                }
                if !service.is_shut_down() {
                    continue;
                }
            }
            () = service.shut_down() => {
                connection.as_mut().graceful_shutdown();
                // Streams that the host never reads must not keep the machine, and a host that has its answer
                // hangs up without waiting for ours.
                let farewell = async {
                    tokio::select! {
                        _ = connection => {}
                        _ = host.disconnected() => {}
                    }
                };
                let _ = tokio::time::timeout(FAREWELL, farewell).await;
            }
        }
        return drain(&port);
    }
}

/// A call, or a standard stream of a process.
async fn answer(
    service: Service,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    match StandardStream::parse(&path) {
        Some((stream, id)) => Ok(stdio::serve(service.agent(), stream, id, request).await),
        None => GuestServer::new(service).call(request).await,
    }
}

/// Returns when the host has taken all that was written, or is gone.
///
/// The driver completes a write that may block only when the host has taken it, and the host takes writes in
/// their order. What is written is a PING acknowledgement (RFC 9113, section 6.7): peers ignore stray ones.
fn drain(port: &OwnedFd) -> io::Result<()> {
    const PING_ACK: [u8; 17] = [0, 0, 8, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut events = [PollFd::new(port, PollFlags::OUT)];
    let limit = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    poll(&mut events, Some(&limit))?;
    if !events[0].revents().contains(PollFlags::OUT) {
        return Ok(());
    }
    fcntl_setfl(port, fcntl_getfl(port)? - OFlags::NONBLOCK)?;
    rustix::io::write(port, &PING_ACK)?;
    Ok(())
}
