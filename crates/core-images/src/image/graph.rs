//! Everything that a descriptor leads to.

use std::collections::BTreeSet;

use container_resource::digest::{Digest, DigestError};
use container_resource::image::Descriptor;
use container_resource::platform::Platform;

use super::document::{Config, Document, DocumentError, MAX_DOCUMENT, Manifest};
use super::media;
use crate::store::{Ingest, Store, StoreError};

/// Most levels of indexes.
const MAX_DEPTH: u32 = 4;
/// Most manifests of one image.
const MAX_MANIFESTS: usize = 256;

/// Where documents and blobs are.
pub trait Blobs {
    /// Whether the whole blob is there.
    fn has(&mut self, digest: Digest, size: u64) -> bool;
    /// A small document.
    fn read(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, StoreError>;
}

impl Blobs for &Store {
    fn has(&mut self, digest: Digest, size: u64) -> bool {
        self.has_blob(digest, size)
    }

    fn read(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.read_blob(digest, limit)
    }
}

impl Blobs for Ingest<'_> {
    fn has(&mut self, digest: Digest, size: u64) -> bool {
        Ingest::has(self, digest, size)
    }

    fn read(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        Ingest::read(self, digest, limit)
    }
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What it was built for.
    pub platform: Platform,
    /// Of the manifest.
    pub digest: Digest,
    /// Of the manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: Config,
    /// The configuration as stored.
    pub config_bytes: Vec<u8>,
}

/// What was found below a descriptor.
#[derive(Debug, Default)]
pub struct Graph {
    /// Images that can run somewhere.
    pub variants: Vec<Variant>,
    /// Every blob that is there or should be.
    pub blobs: BTreeSet<Digest>,
    /// Manifests of indexes that are not there: platforms that were not brought along.
    pub absent: Vec<Descriptor>,
    /// What is damaged.
    pub damage: Vec<GraphError>,
}

/// Why a part of an image can't be used.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// A descriptor's digest is none.
    #[error("the image names {digest:?}")]
    Digest {
        /// As written.
        digest: String,
        /// Why.
        source: DigestError,
    },
    /// A document can't be read.
    #[error("the image's document {digest} cannot be used")]
    Document {
        /// Which one.
        digest: Digest,
        /// Why.
        source: DocumentError,
    },
    /// The store failed, or a part is missing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Indexes of indexes.
    #[error("the image's indexes are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Too many.
    #[error("the image has more than {MAX_MANIFESTS} manifests")]
    TooMany,
    /// An image without layers can't have a root.
    #[error("the image {0} has no layers")]
    NoLayers(Digest),
    /// More layers than can be merged.
    #[error(
        "the image {digest} has {count} layers; {} are the most",
        erofs::MAX_LAYERS
    )]
    TooManyLayers {
        /// Of the manifest.
        digest: Digest,
        /// Layers.
        count: usize,
    },
    /// The configuration describes other layers than the manifest.
    #[error("the image {0} has another number of layers than its configuration says")]
    LayerCount(Digest),
    /// A layer that is no tar archive.
    #[error("media type {0} not supported")]
    LayerType(String),
}

impl Graph {
    /// Walks everything below `root`. Damage is collected, and the rest still found.
    pub fn walk(blobs: &mut impl Blobs, root: &Descriptor) -> Self {
        let mut graph = Self::default();
        let mut rest = vec![(root.clone(), 0)];
        let mut seen = BTreeSet::new();
        while let Some((descriptor, depth)) = rest.pop() {
            let children = match graph.visit(blobs, &descriptor, depth, &mut seen) {
                Ok(children) => children,
                Err(error) => {
                    graph.damage.push(error);
                    continue;
                }
            };
            // Reversed, so that the first is met first.
            rest.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
        }
        graph
    }

    /// The variant for `platform`, the nearest of several.
    pub fn variant(&self, platform: &Platform) -> Option<&Variant> {
        self.variants
            .iter()
            .filter_map(|variant| Some((variant.platform.distance(platform)?, variant)))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, variant)| variant)
    }

    /// Platforms that are here, for people.
    pub fn platforms(&self) -> String {
        let names: Vec<String> = self
            .variants
            .iter()
            .map(|variant| variant.platform.to_string())
            .collect();
        if names.is_empty() {
            "none".into()
        } else {
            names.join(", ")
        }
    }

    fn visit(
        &mut self,
        blobs: &mut impl Blobs,
        descriptor: &Descriptor,
        depth: u32,
        seen: &mut BTreeSet<Digest>,
    ) -> Result<Vec<Descriptor>, GraphError> {
        let digest = digest_of(descriptor)?;
        if !seen.insert(digest) {
            return Ok(Vec::new());
        }
        if seen.len() > MAX_MANIFESTS {
            return Err(GraphError::TooMany);
        }
        if depth > 0 && !blobs.has(digest, descriptor.size) {
            self.absent.push(descriptor.clone());
            return Ok(Vec::new());
        }
        self.blobs.insert(digest);
        let bytes = blobs.read(digest, MAX_DOCUMENT)?;
        let document = Document::parse(&bytes, &descriptor.media_type)
            .map_err(|source| GraphError::Document { digest, source })?;
        match document {
            Document::Index(_) if depth >= MAX_DEPTH => Err(GraphError::TooDeep),
            Document::Index(manifests) => Ok(manifests),
            Document::Manifest(manifest) => {
                self.manifest(blobs, digest, descriptor, *manifest)?;
                Ok(Vec::new())
            }
        }
    }

    fn manifest(
        &mut self,
        blobs: &mut impl Blobs,
        digest: Digest,
        descriptor: &Descriptor,
        manifest: Manifest,
    ) -> Result<(), GraphError> {
        for part in manifest.layers.iter().chain([&manifest.config]) {
            let part_digest = digest_of(part)?;
            self.blobs.insert(part_digest);
            if !blobs.has(part_digest, part.size) {
                self.damage
                    .push(StoreError::MissingBlob(part_digest).into());
            }
        }
        if !media::is_config(&manifest.config.media_type) {
            return Ok(());
        }
        let config_digest = digest_of(&manifest.config)?;
        let config_bytes = blobs.read(config_digest, MAX_DOCUMENT)?;
        let unknown = |platform: &Platform| platform.os == "unknown";
        if descriptor.platform.as_ref().is_some_and(unknown) {
            // An attestation, which borrows the form of an image.
            return Ok(());
        }
        let config = Config::parse(&config_bytes).map_err(|source| GraphError::Document {
            digest: config_digest,
            source,
        })?;
        check_layers(digest, &manifest, &config)?;
        let platform = match &descriptor.platform {
            Some(platform) => platform.normalised(),
            None => config.platform(),
        };
        let descriptor = descriptor.clone();
        self.variants.push(Variant {
            platform,
            digest,
            descriptor,
            manifest,
            config,
            config_bytes,
        });
        Ok(())
    }
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, GraphError> {
    descriptor
        .digest
        .parse()
        .map_err(|source| GraphError::Digest {
            digest: descriptor.digest.clone(),
            source,
        })
}

fn check_layers(digest: Digest, manifest: &Manifest, config: &Config) -> Result<(), GraphError> {
    let count = manifest.layers.len();
    if count == 0 {
        return Err(GraphError::NoLayers(digest));
    }
    if count > erofs::MAX_LAYERS {
        return Err(GraphError::TooManyLayers { digest, count });
    }
    if count != config.rootfs.diff_ids.len() {
        return Err(GraphError::LayerCount(digest));
    }
    match manifest
        .layers
        .iter()
        .find(|layer| !media::is_layer(&layer.media_type))
    {
        Some(layer) => Err(GraphError::LayerType(layer.media_type.clone())),
        None => Ok(()),
    }
}
