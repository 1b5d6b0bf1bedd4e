//! What `docker save` wrote before version 1.10: a directory per layer with its `json` and `layer.tar`, and a file
//! `repositories` with the names (Docker image specification v1).

use std::collections::{BTreeMap, BTreeSet};

use container_resource::image::Descriptor;
use serde::Deserialize;
use serde_json::{Value, json};

use super::candidates::Candidates;
use super::content::Content;
use super::docker::take_manifest;
use super::load::LoadError;
use crate::image::{MAX_DOCUMENT, media};
use crate::store::{Ingest, IngestError, Store};
use container_compression::{self as compression, Compression};

/// Tags by repository; what they stand for by tag.
type Repositories = BTreeMap<String, BTreeMap<String, String>>;

/// A layer's `json`. That of the uppermost is the image's.
#[derive(Deserialize)]
struct LayerJson {
    #[serde(default)]
    parent: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// The images of such an archive; none if it is no such archive. Without `repositories` they are those layers that
/// no other stands on, and have no names.
pub(super) fn candidates(
    found: &mut Candidates,
    store: &Store,
    content: &Content,
    ingest: &mut Ingest<'_>,
) -> Result<(), LoadError> {
    let mut layers = BTreeMap::new();
    for (path, (digest, _)) in &content.files {
        let Some(id) = path.strip_suffix("/json").filter(|id| !id.contains('/')) else {
            continue;
        };
        let bytes = ingest.read(*digest, MAX_DOCUMENT)?;
        let layer: LayerJson = serde_json::from_slice(&bytes).map_err(LoadError::Index)?;
        layers.insert(id, layer);
    }
    let mut heads: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if let Some((digest, _)) = content.files.get("repositories") {
        let bytes = ingest.read(*digest, MAX_DOCUMENT)?;
        let repositories: Repositories =
            serde_json::from_slice(&bytes).map_err(LoadError::Index)?;
        for (repository, tags) in repositories {
            for (tag, id) in tags {
                let names = heads.entry(id).or_default();
                names.push(format!("{repository}:{tag}"));
            }
        }
    } else {
        let parents: BTreeSet<&str> = layers
            .values()
            .filter_map(|layer| layer.parent.as_deref())
            .collect();
        let alone = layers.keys().filter(|id| !parents.contains(*id));
        heads.extend(alone.map(|id| ((*id).to_owned(), Vec::new())));
    }
    for (id, names) in heads {
        match manifest(content, ingest, &layers, &id) {
            Ok(descriptor) => found.add(store, &names, descriptor),
            Err(error) => found.failures.push(error),
        }
    }
    Ok(())
}

fn manifest(
    content: &Content,
    ingest: &mut Ingest<'_>,
    layers: &BTreeMap<&str, LayerJson>,
    head: &str,
) -> Result<Descriptor, LoadError> {
    let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
    let mut next = Some(head);
    while let Some(id) = next {
        let missing = |what: &str| LoadError::MissingMember(format!("{id}/{what}"));
        let layer = layers.get(id).ok_or_else(|| missing("json"))?;
        let path = format!("{id}/layer.tar");
        let (digest, size) = content.resolve(&path).ok_or_else(|| missing("layer.tar"))?;
        let head = compression::head(&mut ingest.open(digest)?).map_err(IngestError::Read)?;
        // Parents may go round in circles; more than that cannot be merged anyway.
        if Compression::of(&head) != Compression::None || diff_ids.len() > erofs::MAX_LAYERS {
            return Err(LoadError::Member(path));
        }
        descriptors.push(Descriptor::new(
            media::layer_type(Compression::None),
            digest,
            size,
        ));
        diff_ids.push(digest);
        next = layer.parent.as_deref().filter(|parent| !parent.is_empty());
    }
    descriptors.reverse();
    diff_ids.reverse();
    let said = |key: &str| layers.get(head).and_then(|layer| layer.rest.get(key));
    let config = json!({
        "created": said("created"),
        "architecture": said("architecture"),
        "os": said("os"),
        "config": said("config"),
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let (digest, size) = ingest.take_bytes(config.to_string().as_bytes())?;
    let config = Descriptor::new(media::CONFIG, digest, size);
    take_manifest(ingest, config, descriptors)
}
