//! Uploading blobs: existence, mounting, chunks that can be resumed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use container_api::Chain;
use container_resource::digest::Digest;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::error::RegistryError;
use super::http::{Ask, Session};
use super::progress::{Phase, Progress, Report};

/// Bytes of one request; registries may ask for more, up to the largest.
const CHUNK: u64 = 8 << 20;
const LARGEST_CHUNK: u64 = 64 << 20;
/// What a registry asks for (distribution specification, "Pushing a blob in chunks").
const MIN_LENGTH: &str = "oci-chunk-min-length";
const OCTETS: &str = "application/octet-stream";

/// A blob on its way out.
pub(super) struct Upload {
    pub digest: Digest,
    pub size: u64,
    pub file: Arc<File>,
}

impl Session {
    /// Whether the repository has that blob.
    pub(super) async fn has_blob(&self, digest: Digest) -> Result<bool, RegistryError> {
        let ask = Ask::new(Method::HEAD, self.url(&format!("blobs/{digest}"))?);
        Ok(self.send(&ask).await?.status().is_success())
    }

    /// Uploads a blob. `mount_from` is another repository of this registry that may have it: then nothing
    /// needs to be sent. Tells whether something was.
    pub(super) async fn upload(
        &self,
        upload: &Upload,
        mount_from: Option<&str>,
        report: &Report,
    ) -> Result<bool, RegistryError> {
        let start = self.url("blobs/uploads/")?;
        let mounted = match mount_from {
            Some(repository) => self.mount(&start, upload.digest, repository).await,
            None => None,
        };
        let response = if let Some(response) = mounted {
            response
        } else {
            let ask = Ask::new(Method::POST, start);
            self.expect(&ask, "the repository").await?
        };
        if response.status() == StatusCode::CREATED {
            return Ok(false);
        }
        let chunk = response
            .headers()
            .get(MIN_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0)
            .clamp(CHUNK, LARGEST_CHUNK);
        let location = self.location(&response)?;
        let location = if upload.size > chunk {
            self.send_chunks(upload, location, chunk, report).await?
        } else {
            location
        };
        let (body, rest) = if upload.size > chunk {
            (Bytes::new(), false)
        } else {
            (read(upload, 0, upload.size, self).await?, true)
        };
        let mut last = location;
        last.query_pairs_mut()
            .append_pair("digest", &upload.digest.to_string());
        let mut ask = Ask::new(Method::PUT, last);
        if rest {
            ask = ask.header(CONTENT_TYPE, OCTETS).body(body);
        }
        self.expect(&ask, "the upload").await?;
        tell(upload, upload.size, report);
        Ok(true)
    }

    /// Asks for a blob of another repository: it is there then, or an upload has been started in its place. Any
    /// other answer means nothing but that it has to be uploaded: registries refuse this in many ways.
    async fn mount(&self, start: &Url, digest: Digest, repository: &str) -> Option<Response> {
        let mut url = start.clone();
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", repository);
        match self.send_once(&Ask::new(Method::POST, url)).await {
            Ok(response)
                if response.status() == StatusCode::CREATED
                    || (response.status() == StatusCode::ACCEPTED
                        && response.headers().contains_key(LOCATION)) =>
            {
                Some(response)
            }
            Ok(response) => {
                tracing::debug!(%digest, repository, status = %response.status(), "no mount");
                None
            }
            Err(error) => {
                tracing::debug!(%digest, repository, error = %Chain(&error), "no mount");
                None
            }
        }
    }

    async fn send_chunks(
        &self,
        upload: &Upload,
        mut location: Url,
        chunk: u64,
        report: &Report,
    ) -> Result<Url, RegistryError> {
        let mut sent = 0;
        let mut failures = 0;
        while sent < upload.size {
            let length = chunk.min(upload.size - sent);
            let body = read(upload, sent, length, self).await?;
            let ask = Ask::new(Method::PATCH, location.clone())
                .header(CONTENT_TYPE, OCTETS)
                .header(CONTENT_RANGE, &format!("{sent}-{}", sent + length - 1))
                .body(body);
            // `send` repeats a chunk only when the registry has said that it did not take it; a registry that
            // took it without our hearing answers the repetition with 416, and tells where it is.
            let response = self.send(&ask).await?;
            if response.status().is_success() {
                location = self.location(&response)?;
                sent += length;
                failures = 0;
            } else if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && failures < 3 {
                failures += 1;
                let status = Ask::new(Method::GET, location.clone());
                let response = self.expect(&status, "the upload").await?;
                sent = received(&response).unwrap_or(0).min(upload.size);
                if response.headers().contains_key(LOCATION) {
                    location = self.location(&response)?;
                }
            } else {
                return Err(self.failure(response, "the upload").await);
            }
            tell(upload, sent, report);
        }
        Ok(location)
    }

    /// Where an upload goes on.
    fn location(&self, response: &Response) -> Result<Url, RegistryError> {
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let target = location
            .and_then(|location| response.url().join(location).ok())
            .ok_or_else(|| self.protocol("an upload has no location"))?;
        self.check(&self.base, &target)?;
        Ok(target)
    }
}

/// Bytes that the registry has, from `Range: 0-<last>`.
fn received(response: &Response) -> Option<u64> {
    let range = response.headers().get(RANGE)?.to_str().ok()?;
    let last: u64 = range.rsplit('-').next()?.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

async fn read(
    upload: &Upload,
    offset: u64,
    length: u64,
    session: &Session,
) -> Result<Bytes, RegistryError> {
    let file = Arc::clone(&upload.file);
    // At most the largest chunk.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)
            .map(|()| Bytes::from(bytes))
    });
    match read.await {
        Ok(Ok(bytes)) => Ok(bytes),
        _ => Err(session.protocol("the blob to be uploaded cannot be read")),
    }
}

fn tell(upload: &Upload, sent: u64, report: &Report) {
    report(Progress {
        digest: Some(upload.digest),
        phase: Phase::Uploading,
        bytes: sent,
        total: upload.size,
    });
}
