//! Tells a registry without a referrers API which manifests refer to another one (distribution specification 1.1, "Pushing Manifests with
//! Subject"): an index under a tag made of the manifest's digest.

use std::collections::BTreeMap;

use bytes::Bytes;
use container_resource::digest::{Digest, DigestError};
use container_resource::image::Descriptor;
use reqwest::header::{CONTENT_TYPE, IF_MATCH};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::RegistryError;
use super::http::{Ask, Session};
use super::manifest::Fetched;
use crate::image::{MAX_DOCUMENT, media};

/// How often the index is read again if another client has changed it meanwhile.
const TRIES: u32 = 5;

/// A manifest that refers to another one.
#[derive(Debug)]
pub(super) struct Referrer {
    subject: String,
    descriptor: Descriptor,
}

/// The parts of a manifest or index that matter here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubjectFields {
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Why the index cannot be kept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum IndexError {
    #[error("it is no image index")]
    NotAnIndex,
    #[error("it would be larger than {MAX_DOCUMENT} bytes")]
    TooLarge,
}

impl Referrer {
    /// Of a manifest or index that `descriptor` names; `None` when it refers to nothing.
    pub(super) fn of(
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<Option<Self>, serde_json::Error> {
        if !matches!(
            descriptor.media_type.as_str(),
            media::MANIFEST | media::INDEX
        ) {
            return Ok(None);
        }
        let shape: SubjectFields = serde_json::from_slice(bytes)?;
        let Some(subject) = shape.subject else {
            return Ok(None);
        };
        let artifact_type = shape.artifact_type.filter(|kind| !kind.is_empty());
        let descriptor = Descriptor {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            urls: None,
            annotations: shape.annotations,
            platform: None,
            artifact_type: artifact_type.or(shape.config.map(|config| config.media_type)),
        };
        let subject = subject.digest;
        Ok(Some(Self {
            subject,
            descriptor,
        }))
    }

    /// Whether a registry's header `OCI-Subject` says that it has taken note.
    pub(super) fn is_noted(&self, header: Option<&str>) -> bool {
        header == Some(self.subject.as_str())
    }

    fn tag(&self) -> Result<String, DigestError> {
        Ok(format!("sha256-{}", self.subject.parse::<Digest>()?.hex()))
    }

    /// The index with this referrer in it; `None` when it is there already. What else the index holds stays.
    fn appended(&self, index: Option<&Fetched>) -> Result<Option<Bytes>, IndexError> {
        let mut document = match index {
            None => json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": [] }),
            Some(index) if index.descriptor.media_type == media::INDEX => {
                serde_json::from_slice(&index.bytes).map_err(|_| IndexError::NotAnIndex)?
            }
            Some(_) => return Err(IndexError::NotAnIndex),
        };
        let is_index = document["schemaVersion"] == 2
            && matches!(&document["mediaType"], Value::Null | Value::String(_))
            && document["mediaType"].as_str().unwrap_or(media::INDEX) == media::INDEX;
        let manifests = document.get_mut("manifests").and_then(Value::as_array_mut);
        let Some(manifests) = manifests.filter(|_| is_index) else {
            return Err(IndexError::NotAnIndex);
        };
        if manifests
            .iter()
            .any(|known| known["digest"] == self.descriptor.digest)
        {
            return Ok(None);
        }
        manifests.push(json!(self.descriptor));
        let bytes = Bytes::from(document.to_string());
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(IndexError::TooLarge);
        }
        Ok(Some(bytes))
    }
}

impl Session {
    /// Enters a pushed manifest into the index of what refers to its subject.
    pub(super) async fn add_referrer(&self, referrer: &Referrer) -> Result<(), RegistryError> {
        let tag = referrer
            .tag()
            .map_err(|error| self.protocol(format!("it keeps no referrers: {error}")))?;
        for _ in 0..TRIES {
            let index = match self.manifest(&tag, None).await {
                Ok(index) => Some(index),
                Err(RegistryError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            };
            let appended = referrer
                .appended(index.as_ref())
                .map_err(|error| self.protocol(format!("the referrers under {tag}: {error}")))?;
            let Some(bytes) = appended else {
                return Ok(());
            };
            let mut ask = Ask::new(Method::PUT, self.url(&format!("manifests/{tag}"))?)
                .header(CONTENT_TYPE, media::INDEX)
                .body(bytes);
            if let Some(etag) = index.and_then(|index| index.etag) {
                ask = ask.header(IF_MATCH, &etag);
            }
            let response = self.send(&ask).await?;
            if response.status().is_success() {
                return Ok(());
            }
            if response.status() != StatusCode::PRECONDITION_FAILED {
                return Err(self.failure(response, "the repository").await);
            }
        }
        Err(self.protocol(format!("the referrers under {tag} change all the time")))
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::new(Sha256::digest(bytes).into());
        Descriptor::new(media_type, digest, bytes.len() as u64)
    }

    fn referrer(extra: &Value) -> Option<Referrer> {
        let mut manifest = json!({
            "schemaVersion": 2,
            "config": descriptor("application/vnd.example.config", b"{}"),
            "layers": [],
        });
        for (key, value) in extra.as_object().unwrap() {
            manifest[key] = value.clone();
        }
        let bytes = manifest.to_string();
        Referrer::of(
            &descriptor(media::MANIFEST, bytes.as_bytes()),
            bytes.as_bytes(),
        )
        .unwrap()
    }

    fn index(media_type: &str, document: &str) -> Fetched {
        let bytes = Bytes::from(document.to_owned());
        let descriptor = descriptor(media_type, &bytes);
        let digest = descriptor.digest.parse().unwrap();
        Fetched {
            descriptor,
            digest,
            bytes,
            etag: None,
        }
    }

    #[test]
    fn a_referrer_says_what_it_is() {
        assert!(referrer(&json!({})).is_none());
        let subject = descriptor(media::MANIFEST, b"x");
        let plain = referrer(&json!({ "subject": subject })).unwrap();
        let kind = |referrer: &Referrer| referrer.descriptor.artifact_type.clone().unwrap();
        assert_eq!(kind(&plain), "application/vnd.example.config");
        assert!(plain.is_noted(Some(&subject.digest)));
        assert!(!plain.is_noted(Some("sha256:00")) && !plain.is_noted(None));
        assert_eq!(plain.tag().unwrap(), subject.digest.replace(':', "-"));
        let annotations = json!({ "a": "b" });
        let typed = json!({
            "subject": subject, "artifactType": "application/x", "annotations": annotations
        });
        let typed = referrer(&typed).unwrap();
        assert_eq!(kind(&typed), "application/x");
        assert_eq!(json!(typed.descriptor.annotations), annotations);
        let mut upwards = subject;
        upwards.digest = "sha256:../../x".into();
        assert!(
            referrer(&json!({ "subject": upwards }))
                .unwrap()
                .tag()
                .is_err()
        );
    }

    #[test]
    fn an_index_is_begun_and_continued_and_nothing_else() {
        let subject = descriptor(media::MANIFEST, b"x");
        let one = referrer(&json!({ "subject": subject })).unwrap();
        let two = referrer(&json!({ "subject": subject, "artifactType": "two" })).unwrap();
        let first = one.appended(None).unwrap().unwrap();
        let first = index(media::INDEX, std::str::from_utf8(&first).unwrap());
        assert_eq!(one.appended(Some(&first)), Ok(None));
        let both = two.appended(Some(&first)).unwrap().unwrap();
        let both: Value = serde_json::from_slice(&both).unwrap();
        assert_eq!(both["manifests"], json!([one.descriptor, two.descriptor]));

        let kept = r#"{"schemaVersion":2,"manifests":[{"x":1}],"annotations":{"y":"z"}}"#;
        let kept = one.appended(Some(&index(media::INDEX, kept))).unwrap();
        let kept: Value = serde_json::from_slice(&kept.unwrap()).unwrap();
        assert_eq!(
            (&kept["manifests"][0]["x"], &kept["annotations"]["y"]),
            (&json!(1), &json!("z"))
        );

        let manifest = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        for (media_type, document) in [
            (media::INDEX, "<html>"),
            (media::INDEX, "[]"),
            (media::INDEX, manifest),
            (media::INDEX, r#"{"schemaVersion":1,"manifests":[]}"#),
            (media::INDEX, r#"{"schemaVersion":2,"manifests":{}}"#),
            (
                media::INDEX,
                r#"{"schemaVersion":2,"mediaType":"x","manifests":[]}"#,
            ),
            (media::MANIFEST, manifest),
            ("", r#"{"schemaVersion":2,"manifests":[]}"#),
        ] {
            let error = one.appended(Some(&index(media_type, document)));
            assert_eq!(error, Err(IndexError::NotAnIndex), "{document}");
        }
        let limit = usize::try_from(MAX_DOCUMENT).unwrap();
        let full = format!(
            r#"{{"schemaVersion":2,"manifests":["{}"]}}"#,
            "x".repeat(limit - 50)
        );
        let full = one.appended(Some(&index(media::INDEX, &full)));
        assert_eq!(full, Err(IndexError::TooLarge));
    }
}
