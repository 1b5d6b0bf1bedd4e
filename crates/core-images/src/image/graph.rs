//! All documents and blobs that a descriptor leads to.

use std::collections::BTreeSet;

use container_resource::digest::{Digest, DigestError};
use container_resource::image::Descriptor;
use container_resource::image_settings::{ImageSettings, ImageSettingsError};
use container_resource::platform::Platform;

use super::document::{Config, Document, DocumentError, MAX_DOCUMENT, Manifest};
use super::media;
use crate::store::{Ingest, Store, StoreError};

/// Most levels of indexes.
const MAX_DEPTH: u32 = 4;
/// Most manifests of one image.
const MAX_MANIFESTS: usize = 256;
/// Most platforms that share one manifest.
const MAX_PLATFORMS: usize = 16;
/// The operating system and architecture of what runs nowhere, such as an attestation.
const NOWHERE: &str = "unknown";

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
    /// Platform that it was built for.
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
    /// Whether all of its blobs are there.
    pub is_whole: bool,
}

/// What was found below a descriptor.
#[derive(Debug, Default)]
pub struct Graph {
    /// Images that can run somewhere.
    pub variants: Vec<Variant>,
    /// Every blob that is there or should be.
    pub blobs: BTreeSet<Digest>,
    /// Manifests of indexes that are not there, or not with all they need: platforms that were not brought along.
    pub absent: Vec<Descriptor>,
    /// Types of the configurations of what is no image.
    pub artifacts: Vec<String>,
    /// What is damaged.
    pub damage: Vec<GraphError>,
}

/// Why a part of an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// A descriptor's digest is invalid.
    #[error("the image names {digest:?}")]
    Digest {
        /// As written.
        digest: String,
        /// Why.
        source: DigestError,
    },
    /// A document cannot be read.
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
    /// An image without layers cannot have a root.
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
    /// The configuration describes no containers.
    #[error("no container can be made of the image {digest}")]
    Settings {
        /// Of the manifest.
        digest: Digest,
        /// Why.
        source: ImageSettingsError,
    },
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
            self.further_platform(digest, descriptor);
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
                self.manifest(blobs, digest, descriptor, *manifest, depth)?;
                Ok(Vec::new())
            }
        }
    }

    /// An index may name one manifest for several platforms.
    fn further_platform(&mut self, digest: Digest, descriptor: &Descriptor) {
        let Some(platform) = &descriptor.platform else {
            return;
        };
        let same = |variant: &&Variant| variant.digest == digest;
        let count = self.variants.iter().filter(same).count();
        let Some(first) = self.variants.iter().find(same) else {
            return;
        };
        let platform = platform.or(&first.config.platform());
        let is_new = !self
            .variants
            .iter()
            .any(|variant| variant.digest == digest && variant.platform == platform);
        if is_new && count < MAX_PLATFORMS {
            let variant = Variant {
                platform,
                descriptor: descriptor.clone(),
                ..first.clone()
            };
            self.variants.push(variant);
        }
    }

    fn manifest(
        &mut self,
        blobs: &mut impl Blobs,
        digest: Digest,
        descriptor: &Descriptor,
        manifest: Manifest,
        depth: u32,
    ) -> Result<(), GraphError> {
        let missing = self.missing(blobs, &manifest)?;
        let is_declared = media::is_config(&manifest.config.media_type);
        let config_digest = digest_of(&manifest.config)?;
        let config_bytes = match blobs.read(config_digest, MAX_DOCUMENT) {
            _ if missing.contains(&config_digest) => None,
            Ok(bytes) => Some(bytes),
            Err(error) if is_declared => return Err(error.into()),
            Err(_) => None,
        };
        let config = config_bytes.as_deref().map(Config::parse);
        let platform = match (&descriptor.platform, &config) {
            (Some(platform), Some(Ok(config))) => platform.or(&config.platform()),
            (Some(platform), _) => platform.normalised(),
            (None, Some(Ok(config))) => config.platform(),
            (None, _) => Platform::host(),
        };
        if depth > 0 && !missing.is_empty() && platform != Platform::host() {
            self.absent.push(descriptor.clone());
            return Ok(());
        }
        let is_whole = missing.is_empty();
        self.blobs.extend(&missing);
        let missing = missing.into_iter().map(StoreError::MissingBlob);
        self.damage.extend(missing.map(GraphError::from));
        if platform.os == NOWHERE || platform.architecture == NOWHERE {
            // An attestation, which borrows the form of an image.
            return Ok(());
        }
        let (Some(config), Some(config_bytes)) = (config, config_bytes) else {
            if is_whole {
                self.artifacts.push(manifest.config.media_type);
            }
            return Ok(());
        };
        let config = config.map_err(|source| GraphError::Document {
            digest: config_digest,
            source,
        });
        let checked = config.and_then(|config| {
            check(digest, &manifest, &config, &config_bytes)?;
            Ok(config)
        });
        match checked {
            Ok(config) => self.variants.push(Variant {
                platform,
                digest,
                descriptor: descriptor.clone(),
                manifest,
                config,
                config_bytes,
                is_whole,
            }),
            Err(error) if is_declared => return Err(error),
            Err(_) => self.artifacts.push(manifest.config.media_type),
        }
        Ok(())
    }

    /// Which of a manifest's parts are not there; notes those that are.
    fn missing(
        &mut self,
        blobs: &mut impl Blobs,
        manifest: &Manifest,
    ) -> Result<Vec<Digest>, GraphError> {
        let mut missing = Vec::new();
        for part in manifest.layers.iter().chain([&manifest.config]) {
            let digest = digest_of(part)?;
            if blobs.has(digest, part.size) {
                self.blobs.insert(digest);
            } else {
                missing.push(digest);
            }
        }
        Ok(missing)
    }
}

/// # Errors
/// When the descriptor has no digest of a known form.
pub fn digest_of(descriptor: &Descriptor) -> Result<Digest, GraphError> {
    descriptor
        .digest
        .parse()
        .map_err(|source| GraphError::Digest {
            digest: descriptor.digest.clone(),
            source,
        })
}

/// Whether containers can be made of an image: what is wrong is told now, and not when one is wanted.
fn check(
    digest: Digest,
    manifest: &Manifest,
    config: &Config,
    config_bytes: &[u8],
) -> Result<(), GraphError> {
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
    let mut layers = manifest.layers.iter();
    if let Some(layer) = layers.find(|layer| !media::is_layer(&layer.media_type)) {
        return Err(GraphError::LayerType(layer.media_type.clone()));
    }
    ImageSettings::parse(config_bytes)
        .map(drop)
        .map_err(|source| GraphError::Settings { digest, source })
}
