//! Downloading a blob, through interruptions.

use std::time::{Duration, Instant};

use bytes::Bytes;
use container_resource::digest::Digest;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc::Sender;

use super::error::RegistryError;
use super::http::{Ask, Session};
use super::progress::{Phase, Progress, Report, STEP};

/// Most times that one download may break and go on.
const MAX_RESUMES: u32 = 30;
/// A stream that brings less than this over [`RATE_WINDOW`] is given up and resumed.
const MIN_RATE_BYTES: u64 = 16 * 1024;
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// A blob on its way in.
pub(super) struct Download<'d> {
    digest: Digest,
    /// Bytes, as its descriptor says.
    size: u64,
    /// Takes the bytes in order; closed when they are no longer wanted.
    sink: &'d Sender<Bytes>,
    report: &'d Report,
    /// Bytes that the sink has taken.
    received: u64,
    told: u64,
}

/// How one stream ended.
enum Ended {
    Complete,
    /// The rest is not needed.
    Unwanted,
    Broken(String),
}

impl<'d> Download<'d> {
    /// Of `size` bytes, into `sink`.
    pub(super) fn new(
        digest: Digest,
        size: u64,
        sink: &'d Sender<Bytes>,
        report: &'d Report,
    ) -> Self {
        Self {
            digest,
            size,
            sink,
            report,
            received: 0,
            told: 0,
        }
    }

    /// Fetches what is missing, starting where the last host has stopped.
    pub(super) async fn run(&mut self, session: &Session) -> Result<(), RegistryError> {
        let mut failures = 0;
        let mut resumes = 0;
        while self.received < self.size {
            let before = self.received;
            let reason = match self.stream(session).await? {
                Ended::Complete | Ended::Unwanted => return Ok(()),
                Ended::Broken(reason) => reason,
            };
            resumes += 1;
            failures = if self.received > before {
                1
            } else {
                failures + 1
            };
            let wait = session
                .retry
                .wait(failures, None)
                .filter(|_| resumes <= MAX_RESUMES);
            let Some(wait) = wait else {
                let (host, digest) = (session.host(), self.digest);
                let bytes = self.received;
                return Err(RegistryError::GivenUp {
                    host,
                    digest,
                    bytes,
                    reason,
                });
            };
            tracing::debug!(digest = %self.digest, self.received, reason, "resuming a download");
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    async fn stream(&mut self, session: &Session) -> Result<Ended, RegistryError> {
        let mut ask = Ask::new(Method::GET, session.url(&format!("blobs/{}", self.digest))?);
        if self.received > 0 {
            ask = ask.header(RANGE, &format!("bytes={}-", self.received));
        }
        let what = format!("the blob {}", self.digest);
        let mut response = session.expect(&ask, &what).await?;
        // A host that ignores the range starts anew; what is here already is dropped.
        let mut skip = self.start_of(session, &response)?;
        let (mut window, mut in_window) = (Instant::now(), 0);
        loop {
            let chunk = match tokio::time::timeout(session.retry.stall, response.chunk()).await {
                Err(_) => return Ok(Ended::Broken("the stream stalls".into())),
                Ok(Err(error)) => return Ok(Ended::Broken(error.without_url().to_string())),
                Ok(Ok(None)) if self.received == self.size => return Ok(Ended::Complete),
                Ok(Ok(None)) => return Ok(Ended::Broken("the stream ends early".into())),
                Ok(Ok(Some(chunk))) => chunk,
            };
            in_window += chunk.len() as u64;
            if window.elapsed() > RATE_WINDOW {
                if in_window < MIN_RATE_BYTES {
                    return Ok(Ended::Broken("the stream is too slow".into()));
                }
                (window, in_window) = (Instant::now(), 0);
            }
            // At most the chunk's own length, so it fits.
            let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= dropped as u64;
            let fresh = chunk.slice(dropped..);
            if self.received + fresh.len() as u64 > self.size {
                return Err(session.protocol(format!(
                    "the blob {} is longer than its {} bytes",
                    self.digest, self.size
                )));
            }
            self.received += fresh.len() as u64;
            if !fresh.is_empty() && self.sink.send(fresh).await.is_err() {
                return Ok(Ended::Unwanted);
            }
            self.tell();
        }
    }

    /// Bytes at the start of this answer that are here already.
    fn start_of(&self, session: &Session, response: &Response) -> Result<u64, RegistryError> {
        let (start, rest) = if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok());
            let start = range
                .and_then(|range| {
                    range
                        .strip_prefix("bytes ")?
                        .split('-')
                        .next()?
                        .parse()
                        .ok()
                })
                .filter(|start: &u64| *start <= self.received)
                .ok_or_else(|| session.protocol("it gives another range than was asked for"))?;
            (start, self.size - start)
        } else {
            (0, self.size)
        };
        if response
            .content_length()
            .is_some_and(|length| length != rest)
        {
            return Err(session.protocol(format!(
                "the blob {} has another length than its {} bytes",
                self.digest, self.size
            )));
        }
        Ok(self.received - start)
    }

    fn tell(&mut self) {
        if self.received - self.told >= STEP || self.received == self.size {
            self.told = self.received;
            (self.report)(Progress {
                digest: Some(self.digest),
                phase: Phase::Downloading,
                bytes: self.received,
                total: self.size,
            });
        }
    }
}
