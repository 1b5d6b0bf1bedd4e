//! What `docker save` writes: `manifest.json`, configurations, and layers as tar archives.

use std::io::BufReader;

use container_resource::image::Descriptor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::candidates::{Candidates, Tags};
use super::content::Content;
use super::load::LoadError;
use crate::image::{Manifest, media};
use crate::recompress::take_layer;
use crate::store::{Ingest, IngestError, Store};
use container_compression::{self as compression, Compression};

/// One image of `manifest.json` (Docker image specification v1.2).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub config: String,
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub layers: Option<Vec<String>>,
}

/// The images of `manifest.json`, each with an OCI manifest made for it.
pub(super) fn candidates(
    found: &mut Candidates,
    store: &Store,
    content: &Content,
    ingest: &mut Ingest<'_>,
    manifest_json: &[u8],
) -> Result<(), LoadError> {
    let images: Option<Vec<Value>> =
        serde_json::from_slice(manifest_json).map_err(LoadError::Index)?;
    for (position, entry) in images.unwrap_or_default().into_iter().enumerate() {
        let image: Result<DockerImage, _> = serde_json::from_value(entry);
        let image = image.map_err(|error| LoadError::Entry(position + 1, error));
        let made = image.and_then(|image| Ok((manifest(store, content, ingest, &image)?, image)));
        match made {
            Ok((descriptor, image)) => {
                found.add(store, &image.repo_tags.unwrap_or_default(), descriptor);
            }
            Err(error) => found.failures.push(error),
        }
    }
    Ok(())
}

/// The names in `manifest.json`, as far as it can be read.
pub(super) fn tags(content: &Content, manifest_json: &[u8]) -> Tags {
    let images: Vec<Value> = serde_json::from_slice(manifest_json).unwrap_or_default();
    let images = images.into_iter().filter_map(|entry| {
        let image: DockerImage = serde_json::from_value(entry).ok()?;
        let (config, _) = content.resolve(&image.config)?;
        Some((config, image.repo_tags?))
    });
    images.collect()
}

fn manifest(
    store: &Store,
    content: &Content,
    ingest: &mut Ingest<'_>,
    image: &DockerImage,
) -> Result<Descriptor, LoadError> {
    let part = |path: &str| {
        content
            .resolve(path)
            .ok_or_else(|| LoadError::MissingMember(path.to_owned()))
    };
    let (config, size) = part(&image.config)?;
    let config = Descriptor::new(media::CONFIG, config, size);
    let paths = image.layers.as_deref().unwrap_or_default();
    let mut layers = Vec::with_capacity(paths.len());
    for path in paths {
        let (digest, size) = part(path)?;
        let mut file = ingest.open(digest)?;
        let head = compression::head(&mut file).map_err(IngestError::Read)?;
        let compression = Compression::of(&head);
        layers.push(if compression.is_common() {
            Descriptor::new(media::layer_type(compression), digest, size)
        } else {
            let budget = store.space(&store.paths().content())?.free;
            let file = BufReader::new(ingest.open(digest)?);
            take_layer(ingest, file, budget)?.0
        });
    }
    take_manifest(ingest, config, layers)
}

/// Takes in the manifest of an image that had none.
pub(super) fn take_manifest(
    ingest: &mut Ingest<'_>,
    config: Descriptor,
    layers: Vec<Descriptor>,
) -> Result<Descriptor, LoadError> {
    let manifest = Manifest::new(config, layers);
    let bytes = serde_json::to_vec(&manifest).map_err(LoadError::Index)?;
    let (digest, size) = ingest.take_bytes(&bytes)?;
    Ok(Descriptor::new(media::MANIFEST, digest, size))
}
