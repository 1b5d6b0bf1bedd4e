//! The images that an archive names, before it is known whether they are complete.

use std::collections::BTreeMap;

use container_resource::digest::Digest;
use container_resource::image::Descriptor;

use super::content::Content;
use super::load::LoadError;
use super::{docker, layout, legacy};
use crate::image::MAX_DOCUMENT;
use crate::store::{Ingest, Store};

/// One image and its full names, of which there may be none.
#[derive(Debug)]
pub(super) struct Candidate {
    pub names: Vec<String>,
    pub descriptor: Descriptor,
}

/// What an archive names. What cannot be read of it spoils no other part.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub images: Vec<Candidate>,
    /// What is odd, for people.
    pub warnings: Vec<String>,
    /// Why parts were left out.
    pub failures: Vec<LoadError>,
}

impl Candidates {
    /// Finds them where `index.json`, `manifest.json` or `repositories` name them, the first of which counts that
    /// names any.
    pub(super) fn of(
        store: &Store,
        content: &Content,
        ingest: &mut Ingest<'_>,
    ) -> Result<Self, LoadError> {
        let index = content.files.get("index.json");
        let manifest = content.files.get("manifest.json");
        let mut found = Self::default();
        if let Some((digest, _)) = index {
            let tags = match manifest {
                Some((digest, _)) => docker::tags(content, &ingest.read(*digest, MAX_DOCUMENT)?),
                None => BTreeMap::new(),
            };
            let bytes = ingest.read(*digest, MAX_DOCUMENT)?;
            match layout::candidates(&mut found, store, ingest, &bytes, &tags) {
                Err(error) if manifest.is_none() => return Err(error),
                Err(error) => found.failures.push(error),
                Ok(()) => {}
            }
        }
        let is_empty = |found: &Self| found.images.is_empty() && found.failures.is_empty();
        if let Some((digest, _)) = manifest.filter(|_| found.images.is_empty()) {
            let bytes = ingest.read(*digest, MAX_DOCUMENT)?;
            docker::candidates(&mut found, store, content, ingest, &bytes)?;
        } else if is_empty(&found) {
            legacy::candidates(&mut found, store, content, ingest)?;
        }
        if is_empty(&found) {
            return Err(if index.or(manifest).is_some() {
                LoadError::Empty
            } else {
                LoadError::NoIndex
            });
        }
        Ok(found)
    }

    /// Adds an image under those of `names` that are references.
    pub(super) fn add(&mut self, store: &Store, names: &[String], descriptor: Descriptor) {
        let mut full = Vec::new();
        for name in names {
            match store.normalise(name) {
                Ok(name) => full.push(name),
                Err(error) => self.warnings.push(format!(
                    "the image {} has an invalid name, {name:?}: {error}",
                    descriptor.digest
                )),
            }
        }
        self.images.push(Candidate {
            names: full,
            descriptor,
        });
    }
}

/// Names by the digest of the configuration that they are given to.
pub(super) type Tags = BTreeMap<Digest, Vec<String>>;
