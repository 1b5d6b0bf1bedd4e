//! The JSON documents of an image: the fields that are used here.

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;
use serde::{Deserialize, Deserializer, Serialize};

use super::media;

/// Most bytes of a manifest, an index or a configuration, as registries commonly limit them.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// What a descriptor of an image leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// Manifests to choose from.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest(Box<Manifest>),
}

/// One image (image-spec, `manifest.md`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// May be missing in OCI manifests.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The lowest first.
    pub layers: Vec<Descriptor>,
}

/// An image's configuration (image-spec, `config.md`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Config {
    /// What the image was built for, as far as it says.
    #[serde(flatten)]
    pub platform: Platform,
    /// When the image was made.
    #[serde(default)]
    pub created: Option<String>,
    /// The layers' uncompressed digests.
    pub rootfs: RootFs,
}

/// Which layers make up the root.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RootFs {
    /// The lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// No JSON, or not of the form that is needed.
    #[error("the document is malformed")]
    Malformed(#[from] serde_json::Error),
    /// Neither index nor manifest of the second schema.
    #[error("the document is neither an image index nor an image manifest (schema version 2)")]
    Unknown,
    /// It can be read as an index and as a manifest, or is not what its media type says.
    #[error("the document is ambiguous: its content does not fit its media type")]
    Ambiguous,
}

/// Null is what many programs write for nothing.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentFields {
    #[serde(default, deserialize_with = "or_default")]
    schema_version: u32,
    #[serde(default, deserialize_with = "or_default")]
    media_type: String,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

impl Document {
    /// Reads an index or a manifest whose descriptor says `media_type` (may be empty).
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Self, DocumentError> {
        let shape: DocumentFields = serde_json::from_slice(bytes)?;
        if shape.schema_version != 2 {
            return Err(DocumentError::Unknown);
        }
        let types = [media_type, shape.media_type.as_str()];
        let says = |names: [&str; 2]| types.iter().any(|name| names.contains(name));
        let (says_index, says_manifest) = (
            says([media::INDEX, media::DOCKER_INDEX]),
            says([media::MANIFEST, media::DOCKER_MANIFEST]),
        );
        match (shape.manifests, shape.config, shape.layers) {
            (Some(manifests), None, None) if !says_manifest => Ok(Self::Index(manifests)),
            (None, Some(config), layers) if !says_index => {
                let media_type = shape.media_type;
                let layers = layers.unwrap_or_default();
                Ok(Self::Manifest(Box::new(Manifest {
                    schema_version: 2,
                    media_type,
                    config,
                    layers,
                })))
            }
            // As Go writes an index without manifests.
            (None, None, None) if says_index && !says_manifest => Ok(Self::Index(Vec::new())),
            (None, None, _) => Err(DocumentError::Unknown),
            _ => Err(DocumentError::Ambiguous),
        }
    }
}

impl Manifest {
    /// An OCI manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media::MANIFEST.into(),
            config,
            layers,
        }
    }
}

impl Config {
    /// Reads a configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// What the image was built for; the host's where nothing says so.
    pub fn platform(&self) -> Platform {
        self.platform.or(&Platform::host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTOR: &str = r#"{"mediaType":"m","digest":"d","size":1}"#;

    #[test]
    fn a_document_is_one_thing_only() {
        let index = r#""manifests":[]"#.to_owned();
        let manifest = format!(r#""config":{DESCRIPTOR},"layers":[{DESCRIPTOR}]"#);
        let document = |body: &str| format!(r#"{{"schemaVersion":2,{body}}}"#);
        let parse = |text: &str, media_type| Document::parse(text.as_bytes(), media_type);
        assert!(matches!(
            parse(&document(&index), media::INDEX),
            Ok(Document::Index(_))
        ));
        assert!(matches!(
            parse(&document(&manifest), ""),
            Ok(Document::Manifest(_))
        ));
        let both = document(&format!("{index},{manifest}"));
        let liar = document(&format!(r#""mediaType":"{}",{index}"#, media::MANIFEST));
        for (text, media_type) in [
            (both.as_str(), ""),
            (liar.as_str(), ""),
            (&document(&manifest), media::INDEX),
            (&document(&index), media::MANIFEST),
        ] {
            assert!(
                matches!(parse(text, media_type), Err(DocumentError::Ambiguous)),
                "{text}"
            );
        }
        assert!(matches!(
            parse(r#"{"schemaVersion":1}"#, ""),
            Err(DocumentError::Unknown)
        ));
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let text = format!(r#"{{"schemaVersion":2,"x":{}1"#, "[".repeat(1 << 20));
        assert!(matches!(
            Document::parse(text.as_bytes(), ""),
            Err(DocumentError::Malformed(_))
        ));
    }
}
