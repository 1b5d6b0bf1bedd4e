//! HTTP on a Unix socket, for whoever collects the figures.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use container_api::socket;
use futures::StreamExt;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use super::Metrics;
use crate::containers::Containers;
use crate::images::Images;

/// `OpenMetrics` 1.0, section "Overall structure".
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections at a time; more wait.
const CONNECTIONS: usize = 8;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers `GET /metrics` to this user and root, as long as it is not dropped.
pub async fn serve(
    listener: UnixListener,
    metrics: Arc<Metrics>,
    containers: Arc<Containers>,
    images: Images,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut incoming = std::pin::pin!(socket::incoming(listener));
    while let Some(connection) = incoming.next().await {
        let Ok(connection) = connection else {
            continue;
        };
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (metrics, containers, images) = (metrics.clone(), containers.clone(), images.clone());
        tokio::spawn(async move {
            let _place = place;
            let answer = service_fn(|request: Request<Incoming>| {
                let (metrics, containers, images) = (&metrics, &containers, &images);
                async move {
                    if request.uri().path() != "/metrics" {
                        let mut response = Response::new(Full::new(Bytes::new()));
                        *response.status_mut() = StatusCode::NOT_FOUND;
                        return Ok::<_, Infallible>(response);
                    }
                    let text = metrics.render(containers, images).await;
                    let mut response = Response::new(Full::new(Bytes::from(text)));
                    let format = hyper::header::HeaderValue::from_static(FORMAT);
                    response.headers_mut().insert(CONTENT_TYPE, format);
                    Ok(response)
                }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(connection), answer);
            if let Err(error) = served.await {
                tracing::debug!("a client of the metrics: {error:#}");
            }
        });
    }
}
