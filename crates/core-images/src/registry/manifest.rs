//! Manifests and indexes, read and written.

use bytes::Bytes;
use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG};
use sha2::{Digest as _, Sha256};

use super::error::RegistryError;
use super::http::{Ask, Session, read_limited};
use crate::image::{MAX_DOCUMENT, media};

/// What is asked for.
const TYPES: [&str; 4] = [
    media::INDEX,
    media::MANIFEST,
    media::DOCKER_INDEX,
    media::DOCKER_MANIFEST,
];

/// A document and its descriptor.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub descriptor: Descriptor,
    pub digest: Digest,
    pub bytes: Bytes,
    /// What the registry calls this state of what was asked for.
    pub etag: Option<String>,
}

impl Session {
    /// Gets a manifest by tag or digest. What comes is hashed; the digest must be the expected one, and the
    /// one that the registry claims.
    pub(super) async fn manifest(
        &self,
        reference: &str,
        expected: Option<Digest>,
    ) -> Result<Fetched, RegistryError> {
        let ask = Ask::new(Method::GET, self.url(&format!("manifests/{reference}"))?)
            .header(ACCEPT, &TYPES.join(", "));
        let response = self
            .expect(&ask, &format!("{}:{reference}", self.repository))
            .await?;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let media_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        let etag = header(ETAG.as_str());
        let claimed = header("docker-content-digest").and_then(|text| text.parse().ok());
        // Fits: the limit is some MiB.
        let limit = usize::try_from(MAX_DOCUMENT).unwrap_or(usize::MAX);
        let bytes = read_limited(response, limit, self.retry.stall)
            .await
            .map_err(|error| self.protocol(format!("manifest: {error}")))?;
        let digest = Digest::new(Sha256::digest(&bytes).into());
        for expected in [expected, claimed].into_iter().flatten() {
            if expected != digest {
                return Err(RegistryError::Mismatch {
                    host: self.host(),
                    expected,
                    found: digest,
                });
            }
        }
        let descriptor = Descriptor::new(&media_type, digest, bytes.len() as u64);
        Ok(Fetched {
            descriptor,
            digest,
            bytes,
            etag,
        })
    }

    /// Puts a manifest under a tag or its digest. Gives the digest of the subject that the registry has taken
    /// note of, as it says.
    pub(super) async fn put_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Option<String>, RegistryError> {
        let ask = Ask::new(Method::PUT, self.url(&format!("manifests/{reference}"))?)
            .header(CONTENT_TYPE, media_type)
            .body(bytes);
        let response = self.expect(&ask, "the repository").await?;
        let subject = response.headers().get("oci-subject");
        Ok(subject.and_then(|value| value.to_str().ok().map(str::to_owned)))
    }

    /// Whether the repository has that manifest.
    pub(super) async fn has_manifest(&self, digest: Digest) -> Result<bool, RegistryError> {
        let ask = Ask::new(Method::HEAD, self.url(&format!("manifests/{digest}"))?)
            .header(ACCEPT, &TYPES.join(", "));
        Ok(self.send(&ask).await?.status().is_success())
    }
}
