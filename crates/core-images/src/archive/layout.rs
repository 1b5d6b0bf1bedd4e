//! The `index.json` of an OCI image layout (image-spec, `image-layout.md`).

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use serde::Deserialize;
use serde_json::Value;

use super::candidates::{Candidates, Tags};
use super::load::LoadError;
use crate::image::{Document, MAX_DOCUMENT, annotations};
use crate::store::{Ingest, Store};

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Option<Vec<Value>>,
}

/// The images of an index. `tags` are those of a `manifest.json` beside it, for what the index names not at all.
pub(super) fn candidates(
    found: &mut Candidates,
    store: &Store,
    ingest: &Ingest<'_>,
    index: &[u8],
    tags: &Tags,
) -> Result<(), LoadError> {
    let index: Index = serde_json::from_slice(index).map_err(LoadError::Index)?;
    for (position, entry) in index.manifests.unwrap_or_default().into_iter().enumerate() {
        let descriptor: Descriptor = match serde_json::from_value(entry) {
            Ok(descriptor) => descriptor,
            Err(error) => {
                found.failures.push(LoadError::Entry(position + 1, error));
                continue;
            }
        };
        let names: Vec<&str> = annotations::names(&descriptor).collect();
        let usable = names.iter().find(|name| store.normalise(name).is_ok());
        let names = match (usable, names.first()) {
            (Some(name), _) => vec![(*name).to_owned()],
            (None, named) => match beside(ingest, &descriptor, tags) {
                Some(tags) => tags.clone(),
                None => named.map(|name| (*name).to_owned()).into_iter().collect(),
            },
        };
        found.add(store, &names, descriptor);
    }
    Ok(())
}

/// The names that `manifest.json` gives to the same image.
fn beside<'t>(
    ingest: &Ingest<'_>,
    descriptor: &Descriptor,
    tags: &'t Tags,
) -> Option<&'t Vec<String>> {
    if tags.is_empty() {
        return None;
    }
    let digest: Digest = descriptor.digest.parse().ok()?;
    let bytes = ingest.read(digest, MAX_DOCUMENT).ok()?;
    match Document::parse(&bytes, &descriptor.media_type).ok()? {
        Document::Manifest(manifest) => tags.get(&manifest.config.digest.parse().ok()?),
        Document::Index(_) => None,
    }
}
