//! From a reference to the manifests that are wanted.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;

use super::super::manifest::Fetched;
use super::{Choice, Pull, PullError, PulledManifest, parse};
use crate::image::{
    Config, Document, GraphError, MAX_DOCUMENT, Manifest, NoContent, digest_of, media,
};
use crate::store::{Pin, StoreError};

/// Most levels of indexes.
const MAX_DEPTH: u32 = 4;
/// Most manifests of one image that are pulled.
const MAX_MANIFESTS: usize = 64;

impl Pull<'_> {
    /// The manifests that are wanted, with every document on the way taken in.
    pub(super) async fn manifests(
        &self,
        root: &Fetched,
        choice: &Choice,
        pin: &mut Pin,
    ) -> Result<Vec<Manifest>, PullError> {
        let mut found = Vec::new();
        let mut rest = vec![(root.clone(), 0)];
        let mut fetched_count = 0;
        while let Some((fetched, depth)) = rest.pop() {
            pin.hold(fetched.digest);
            self.keep(fetched.bytes.clone()).await?;
            match parse(&fetched)? {
                Document::Manifest(manifest) => found.push(*manifest),
                Document::Index(_) if depth >= MAX_DEPTH => return Err(GraphError::TooDeep.into()),
                Document::Index(children) => {
                    for child in self.chosen(&children, choice)? {
                        fetched_count += 1;
                        if fetched_count > MAX_MANIFESTS {
                            return Err(GraphError::TooMany.into());
                        }
                        rest.push((self.child(child).await?, depth + 1));
                    }
                }
            }
        }
        Ok(found)
    }

    async fn child(&self, descriptor: &Descriptor) -> Result<Fetched, PullError> {
        let digest = digest_of(descriptor)?;
        let text = digest.to_string();
        let mut fetched = self.manifest(&text, Some(digest)).await?;
        fetched
            .descriptor
            .media_type
            .clone_from(&descriptor.media_type);
        Ok(fetched)
    }

    /// What of an index is pulled.
    fn chosen<'d>(
        &self,
        children: &'d [Descriptor],
        choice: &Choice,
    ) -> Result<Vec<&'d Descriptor>, PullError> {
        let Choice::One(platform) = choice else {
            return Ok(children.iter().collect());
        };
        let nested = |child: &&Descriptor| {
            child.platform.is_none()
                && matches!(
                    child.media_type.as_str(),
                    media::INDEX | media::DOCKER_INDEX
                )
        };
        let own = |child: &Descriptor| {
            let platform = child.platform.as_ref()?;
            Some(platform.or(&Platform::host()))
        };
        let nearest = children
            .iter()
            .filter_map(|child| Some((own(child)?.distance(platform)?, child)))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, child)| child);
        let unknown = || {
            let alone = children.len() == 1;
            children
                .iter()
                .find(|child| alone && child.platform.is_none())
        };
        let chosen: Vec<&Descriptor> = match nearest.or_else(unknown) {
            Some(child) => vec![child],
            None => children.iter().filter(nested).collect(),
        };
        if chosen.is_empty() {
            let names = children.iter().filter_map(own);
            let names: Vec<String> = names.map(|platform| platform.to_string()).collect();
            return Err(NoContent {
                name: self.reference.to_string(),
                platform: platform.clone(),
                available: if names.is_empty() {
                    "none".into()
                } else {
                    names.join(", ")
                },
            }
            .into());
        }
        Ok(chosen)
    }

    /// Takes the configuration in, which says what the layers are.
    pub(super) async fn config(
        &self,
        manifest: Manifest,
        pin: &mut Pin,
    ) -> Result<PulledManifest, PullError> {
        let mut diff_ids = HashMap::new();
        let config = &manifest.config;
        let digest = digest_of(config)?;
        self.blob(digest, config.size, None, pin).await?;
        let store = &self.shared.store;
        let mut read = store.read_blob(digest, MAX_DOCUMENT);
        if matches!(read, Err(StoreError::DamagedBlob(_))) {
            store.discard_damaged(digest)?;
            self.blob(digest, config.size, None, pin).await?;
            read = store.read_blob(digest, MAX_DOCUMENT);
        }
        // An attestation or an artifact has a configuration of its own form; the whole is checked at the end.
        if let Some(config) = read.ok().and_then(|bytes| Config::parse(&bytes).ok()) {
            for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
                let runs_here = config.platform().satisfies(&Platform::host());
                if runs_here && media::is_layer(&layer.media_type) {
                    diff_ids.insert(digest_of(layer)?, *diff_id);
                }
            }
        }
        Ok(PulledManifest { manifest, diff_ids })
    }

    async fn keep(&self, bytes: Bytes) -> Result<(), PullError> {
        let store = Arc::clone(&self.shared.store);
        tokio::task::spawn_blocking(move || {
            let mut ingest = store.ingest()?;
            ingest.take_bytes(&bytes)?;
            // The caller's pin holds it.
            ingest.commit(|_| true)?;
            Ok(())
        })
        .await
        .map_err(|_| PullError::Cancelled)?
    }
}
