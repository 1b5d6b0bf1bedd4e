//! Artifacts that refer to an image in its registry (distribution specification 1.1, "Listing Referrers"), read whole.

use bytes::Bytes;
use container_resource::digest::Digest;
use container_resource::reference::Reference;
use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode};
use sha2::{Digest as _, Sha256};

use super::client::{Action, Registries};
use super::error::RegistryError;
use super::http::{Ask, Session, read_limited};
use super::scheme::Scheme;
use crate::image::{Document, MAX_DOCUMENT, media};

/// The most parts of an artifact that are read.
const MOST_PARTS: usize = 8;
/// The largest of them, in bytes.
const PART_LIMIT: usize = 1 << 20;

/// A part of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub media_type: String,
    /// What it says.
    pub bytes: Bytes,
}

impl Registries {
    /// The parts of the first artifact of type `kind` that refers to the manifest `subject` of the image `reference`; none where there is no
    /// such artifact.
    ///
    /// # Errors
    /// When the registry does not answer, or with something else than it should.
    pub async fn attached(
        &self,
        reference: &Reference,
        scheme: Scheme,
        subject: Digest,
        kind: &str,
    ) -> Result<Vec<Part>, RegistryError> {
        let sessions = self.sessions(reference, scheme, Action::Pull).await?;
        // A mirror keeps what is pulled, seldom what refers to it: the registry itself comes last.
        match sessions.last() {
            Some(session) => session.attached(subject, kind).await,
            None => Ok(Vec::new()),
        }
    }
}

impl Session {
    async fn attached(&self, subject: Digest, kind: &str) -> Result<Vec<Part>, RegistryError> {
        let Some(digest) = self.referrer(subject, kind).await? else {
            return Ok(Vec::new());
        };
        let artifact = self.manifest(&digest.to_string(), Some(digest)).await?;
        let document = Document::parse(&artifact.bytes, media::MANIFEST);
        let Ok(Document::Manifest(manifest)) = document else {
            return Err(self.protocol(format!("{digest} is no artifact's manifest")));
        };
        let mut parts = Vec::new();
        for layer in manifest.layers.into_iter().take(MOST_PARTS) {
            let digest: Digest = layer
                .digest
                .parse()
                .map_err(|error| self.protocol(format!("artifact {digest}: {error}")))?;
            parts.push(Part {
                media_type: layer.media_type,
                bytes: self.part(digest).await?,
            });
        }
        Ok(parts)
    }

    /// The first manifest of type `kind` that refers to `subject`: by the API for it, else by the tag that stands for that.
    async fn referrer(&self, subject: Digest, kind: &str) -> Result<Option<Digest>, RegistryError> {
        let ask = Ask::new(Method::GET, self.url(&format!("referrers/{subject}"))?)
            .header(ACCEPT, media::INDEX);
        let response = self.send(&ask).await?;
        let bytes = match response.status() {
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED => {
                let tag = format!("sha256-{}", subject.hex());
                match self.manifest(&tag, None).await {
                    Ok(index) => index.bytes,
                    Err(RegistryError::NotFound { .. }) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            status if status.is_success() => {
                // Fits: the limit is some MiB.
                let limit = usize::try_from(MAX_DOCUMENT).unwrap_or(usize::MAX);
                let read = read_limited(response, limit, self.retry.stall).await;
                read.map_err(|error| self.protocol(format!("referrers: {error}")))?
            }
            _ => return Err(self.failure(response, "the repository").await),
        };
        let document = Document::parse(&bytes, media::INDEX);
        let Ok(Document::Index(referrers)) = document else {
            return Err(self.protocol(format!("the referrers of {subject} are no index")));
        };
        let found = referrers
            .iter()
            .find(|referrer| referrer.artifact_type.as_deref() == Some(kind));
        found
            .map(|referrer| referrer.digest.parse())
            .transpose()
            .map_err(|error| self.protocol(format!("the referrers of {subject}: {error}")))
    }

    async fn part(&self, digest: Digest) -> Result<Bytes, RegistryError> {
        let ask = Ask::new(Method::GET, self.url(&format!("blobs/{digest}"))?);
        let response = self.expect(&ask, &format!("blob {digest}")).await?;
        let bytes = read_limited(response, PART_LIMIT, self.retry.stall)
            .await
            .map_err(|error| self.protocol(format!("blob {digest}: {error}")))?;
        let found = Digest::new(Sha256::digest(&bytes).into());
        if found != digest {
            return Err(RegistryError::Mismatch {
                host: self.host(),
                expected: digest,
                found,
            });
        }
        Ok(bytes)
    }
}
