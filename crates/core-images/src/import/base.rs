//! The image that a new layer is put over.

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;
use serde_json::{Map, Value};

use crate::image::{Config, Document, DocumentError, MAX_DOCUMENT, media};
use crate::store::{Pin, Store, StoreError};

/// What a new image has of the one it is made of.
#[derive(Debug, Default)]
pub(super) struct Base {
    /// The lowest first.
    pub layers: Vec<Descriptor>,
    /// Their uncompressed digests.
    pub diff_ids: Vec<Digest>,
    /// How to run it.
    pub config: Map<String, Value>,
    /// How it came to be.
    pub history: Vec<Value>,
    /// What it is for.
    pub platform: Option<Platform>,
}

/// Why an image cannot be the base of another.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// A document is missing.
    #[error("the image that the container was made of cannot be read")]
    Store(#[from] StoreError),
    /// A document cannot be used.
    #[error("the image that the container was made of is damaged")]
    Document(#[from] DocumentError),
    /// Its layers and what its configuration says of them differ.
    #[error(
        "the image that the container was made of is damaged: it has {layers} layers, but {digests} digests"
    )]
    Layers {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        digests: usize,
    },
}

/// Reads the image of the manifest `digest`; what it is made of stays as long as `pin`.
pub(super) fn read(store: &Store, digest: Digest, pin: &mut Pin) -> Result<Base, BaseError> {
    pin.hold(digest);
    let bytes = store.read_blob(digest, MAX_DOCUMENT)?;
    let Document::Manifest(manifest) = Document::parse(&bytes, "")? else {
        return Err(DocumentError::Unknown.into());
    };
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        if let Ok(digest) = blob.digest.parse() {
            pin.hold(digest);
        }
    }
    let digest = manifest
        .config
        .digest
        .parse()
        .map_err(|_| DocumentError::Unknown)?;
    let bytes = store.read_blob(digest, MAX_DOCUMENT)?;
    let known = Config::parse(&bytes)?;
    let mut whole: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(DocumentError::from)?;
    let (layers, digests) = (manifest.layers.len(), known.rootfs.diff_ids.len());
    if layers != digests {
        return Err(BaseError::Layers { layers, digests });
    }
    let taken = |value: Option<Value>| value.unwrap_or_default();
    Ok(Base {
        layers: manifest.layers.into_iter().map(media::as_oci).collect(),
        config: match taken(whole.remove("config")) {
            Value::Object(config) => config,
            _ => Map::new(),
        },
        history: match taken(whole.remove("history")) {
            Value::Array(history) => history,
            _ => Vec::new(),
        },
        platform: Some(known.platform()),
        diff_ids: known.rootfs.diff_ids,
    })
}
