//! What `docker save` writes: `manifest.json`, configurations, and layers as tar archives.

use std::io::Read;

use container_resource::image::Descriptor;
use serde::{Deserialize, Serialize};

use super::content::Content;
use super::load::LoadError;
use crate::image::{MAX_DOCUMENT, Manifest, media};
use crate::store::{Ingest, IngestError, Store, UNTAGGED};

/// One image of `manifest.json` (Docker image specification v1.2).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub config: String,
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    pub layers: Vec<String>,
}

/// The images of `manifest.json`, each with an OCI manifest made for it.
pub(super) fn named_images(
    store: &Store,
    content: &Content,
    ingest: &mut Ingest<'_>,
) -> Result<Option<Vec<(String, Descriptor)>>, LoadError> {
    let Some((index, _)) = content.files.get("manifest.json") else {
        return Ok(None);
    };
    let bytes = ingest.read(*index, MAX_DOCUMENT)?;
    let images: Vec<DockerImage> = serde_json::from_slice(&bytes).map_err(LoadError::Index)?;
    let mut named = Vec::new();
    for image in images {
        let descriptor = manifest(content, ingest, &image)?;
        let tags = image.repo_tags.unwrap_or_default();
        if tags.is_empty() {
            named.push((format!("{UNTAGGED}{}", descriptor.digest), descriptor));
            continue;
        }
        for name in tags {
            let full = store
                .normalise(&name)
                .map_err(|source| LoadError::Name { name, source })?;
            named.push((full, descriptor.clone()));
        }
    }
    Ok(Some(named))
}

fn manifest(
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
    let mut layers = Vec::with_capacity(image.layers.len());
    for path in &image.layers {
        let (digest, size) = part(path)?;
        let mut head = Vec::new();
        ingest
            .open(digest)?
            .take(4)
            .read_to_end(&mut head)
            .map_err(|error| LoadError::Ingest(IngestError::Read(error)))?;
        layers.push(Descriptor::new(media::layer_type(&head), digest, size));
    }
    let manifest = Manifest::new(config, layers);
    let bytes = serde_json::to_vec(&manifest).map_err(LoadError::Index)?;
    let (digest, size) = ingest.take_bytes(&bytes)?;
    Ok(Descriptor::new(media::MANIFEST, digest, size))
}
