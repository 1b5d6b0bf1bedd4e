//! Pulling: what is missing comes in, in parallel, and layers are unpacked while they do.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;
use container_resource::reference::{Reference, Version};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::address::Scheme;
use super::blob::Download;
use super::client::{Action, Registries};
use super::error::RegistryError;
use super::http::Session;
use super::manifest::Fetched;
use super::progress::{Phase, Progress, Report};
use crate::archive::Stream;
use crate::image::{Document, DocumentError, Graph, GraphError, Manifest, media};
use crate::keyed::KeyedLocks;
use crate::layer::unpack::{Layer, Running, UnpackError, Unpacker, is_unpacked};
use crate::root::{self, RootError};
use crate::store::{Ingest, IngestError, Pin, Store, StoreError};

/// Most levels of indexes.
const MAX_DEPTH: u32 = 4;
/// Most manifests of one image that are pulled.
const MAX_MANIFESTS: usize = 64;
/// Pieces of a blob between the network and the disk.
const QUEUE: usize = 32;

/// Which of an image's platforms are pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One.
    One(Platform),
    /// All that the index names.
    All,
}

/// Why an image can't be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A document can't be used.
    #[error("the image's document {digest} can't be used")]
    Document {
        /// Which one.
        digest: Digest,
        /// Why.
        source: DocumentError,
    },
    /// The image is not made for the platform.
    #[error(
        "image {name} has no content for platform {platform}, available platforms: {available}"
    )]
    NoPlatform {
        /// Of the image.
        name: String,
        /// As asked for.
        platform: Platform,
        /// What there is.
        available: String,
    },
    /// The image can't be used.
    #[error(transparent)]
    Image(#[from] GraphError),
    /// A blob can't be taken in.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A layer can't be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The root can't be made.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This process is ending.
    #[error("the work was given up")]
    Cancelled,
}

/// What all pulls share.
#[derive(Debug)]
pub struct Pulls {
    /// The store.
    pub store: Arc<Store>,
    /// Workers.
    pub unpacker: Arc<Unpacker>,
    /// Registries.
    pub registries: Arc<Registries>,
    /// Blobs that come in, so that two pulls share the work.
    pub blobs: KeyedLocks<Digest>,
}

struct Pull<'p> {
    shared: &'p Pulls,
    sessions: Vec<Session>,
    reference: Reference,
    report: Report,
    parallel: usize,
}

/// A manifest that is to be pulled, and its layers' diff ids when it is an image that can run.
struct Wanted {
    manifest: Manifest,
    diff_ids: HashMap<Digest, Digest>,
}

impl Pulls {
    /// Pulls an image; gives its digest. At most `parallel` blobs come in at a time.
    pub async fn pull(
        &self,
        reference: Reference,
        scheme: Scheme,
        choice: &Choice,
        parallel: usize,
        report: Report,
    ) -> Result<Digest, PullError> {
        report(Progress {
            digest: None,
            phase: Phase::Resolving,
            bytes: 0,
            total: 0,
        });
        let sessions = self
            .registries
            .sessions(&reference, scheme, Action::Pull)
            .await?;
        let parallel = parallel.max(1);
        let pull = Pull {
            shared: self,
            sessions,
            reference,
            report,
            parallel,
        };
        let mut pin = self.store.pin();
        pull.run(choice, &mut pin).await
    }
}

impl Pull<'_> {
    async fn run(&self, choice: &Choice, pin: &mut Pin) -> Result<Digest, PullError> {
        let root = self.resolve().await?;
        let manifests = self.manifests(&root, choice, pin).await?;
        let mut wanted = Vec::new();
        for manifest in manifests {
            wanted.push(self.config(manifest, pin).await?);
        }
        self.blobs(&wanted, pin).await?;
        let descriptor = root.descriptor.clone();
        let mut graph = Graph::walk(&mut &*self.shared.store, &descriptor);
        if let Some(damage) = graph.damage.pop() {
            return Err(damage.into());
        }
        let name = self.reference.to_string();
        name_image(&self.shared.store, name, descriptor)?;
        let host = Platform::host();
        if let Some(variant) = graph.variant(&host) {
            root::prepare(
                &self.shared.store,
                &self.shared.unpacker,
                variant.digest,
                pin,
            )
            .await?;
        }
        (self.report)(Progress {
            digest: None,
            phase: Phase::Done,
            bytes: 0,
            total: 0,
        });
        Ok(root.digest)
    }

    /// Hosts to ask one after the other; those that have failed come last.
    fn hosts(&self) -> Vec<&Session> {
        let mut hosts: Vec<&Session> = self.sessions.iter().collect();
        hosts.sort_by_key(|session| session.is_avoided());
        hosts
    }

    /// Where the configuration names no host at all.
    fn no_host(&self) -> RegistryError {
        RegistryError::Protocol {
            host: self.reference.domain().to_owned(),
            reason: "its configuration allows no host to be asked".into(),
        }
    }

    async fn manifest(
        &self,
        text: &str,
        expected: Option<Digest>,
    ) -> Result<Fetched, RegistryError> {
        let mut last = self.no_host();
        for session in self.hosts() {
            match session.manifest(text, expected).await {
                Ok(fetched) => return Ok(fetched),
                // The registry itself comes last, and its answer counts.
                Err(error) => last = give_up(session, error),
            }
        }
        Err(last)
    }

    async fn resolve(&self) -> Result<Fetched, PullError> {
        let (text, expected) = match self.reference.version() {
            Version::Tag(tag) => (tag.clone(), None),
            Version::Digest(digest) => (digest.to_string(), Some(*digest)),
        };
        let mut fetched = self.manifest(&text, expected).await?;
        let document = parse(&fetched)?;
        if fetched.descriptor.media_type.is_empty() {
            fetched.descriptor.media_type = match document {
                Document::Index(_) => media::INDEX.into(),
                Document::Manifest(_) => media::MANIFEST.into(),
            };
        }
        Ok(fetched)
    }

    /// The manifests that are wanted, with every document on the way taken in.
    async fn manifests(
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
        let own = |child: &Descriptor| child.platform.as_ref().map(Platform::normalised);
        let exact = children
            .iter()
            .find(|child| own(child).as_ref() == Some(platform));
        let close = || {
            children
                .iter()
                .find(|child| own(child).is_some_and(|own| own.satisfies(platform)))
        };
        let unknown = || {
            let alone = children.len() == 1;
            children
                .iter()
                .find(|child| alone && child.platform.is_none())
        };
        let chosen: Vec<&Descriptor> = match exact.or_else(close).or_else(unknown) {
            Some(child) => vec![child],
            None => children.iter().filter(nested).collect(),
        };
        if chosen.is_empty() {
            let names = children.iter().filter_map(own);
            let names: Vec<String> = names.map(|platform| platform.to_string()).collect();
            return Err(PullError::NoPlatform {
                name: self.reference.to_string(),
                platform: platform.clone(),
                available: if names.is_empty() {
                    "none".into()
                } else {
                    names.join(", ")
                },
            });
        }
        Ok(chosen)
    }

    /// Takes the configuration in, which says what the layers are.
    async fn config(&self, manifest: Manifest, pin: &mut Pin) -> Result<Wanted, PullError> {
        let mut diff_ids = HashMap::new();
        let config = &manifest.config;
        let digest = digest_of(config)?;
        self.blob(digest, config.size, None, pin).await?;
        if media::is_config(&config.media_type) {
            let bytes = self
                .shared
                .store
                .read_blob(digest, crate::image::MAX_DOCUMENT)?;
            // An attestation has a configuration of its own form; the whole is checked at the end.
            if let Ok(config) = crate::image::Config::parse(&bytes) {
                for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
                    let runs_here = config.platform().satisfies(&Platform::host());
                    if runs_here && media::is_layer(&layer.media_type) {
                        diff_ids.insert(digest_of(layer)?, *diff_id);
                    }
                }
            }
        }
        Ok(Wanted { manifest, diff_ids })
    }

    async fn blobs(&self, wanted: &[Wanted], pin: &mut Pin) -> Result<(), PullError> {
        let mut layers: Vec<(Digest, u64, Option<Digest>)> = Vec::new();
        for one in wanted {
            for layer in &one.manifest.layers {
                let digest = digest_of(layer)?;
                if layers.iter().all(|(known, ..)| *known != digest) {
                    layers.push((digest, layer.size, one.diff_ids.get(&digest).copied()));
                }
            }
        }
        let work: Vec<_> = layers
            .into_iter()
            .map(|(digest, size, diff_id)| self.pinned_blob(digest, size, diff_id))
            .collect();
        let pins: Vec<Pin> = stream::iter(work)
            .buffer_unordered(self.parallel)
            .try_collect()
            .await?;
        for one in pins {
            pin.take_over(one);
        }
        Ok(())
    }

    async fn pinned_blob(
        &self,
        digest: Digest,
        size: u64,
        diff_id: Option<Digest>,
    ) -> Result<Pin, PullError> {
        let mut pin = self.shared.store.pin();
        self.blob(digest, size, diff_id, &mut pin).await?;
        Ok(pin)
    }

    /// Makes sure that a blob is in the store, and unpacked where it is a layer.
    async fn blob(
        &self,
        digest: Digest,
        size: u64,
        diff_id: Option<Digest>,
        pin: &mut Pin,
    ) -> Result<(), PullError> {
        let store = &self.shared.store;
        pin.hold(digest);
        if let Some(diff_id) = diff_id {
            pin.hold(diff_id);
        }
        let tell = |phase| {
            (self.report)(Progress {
                digest: Some(digest),
                phase,
                bytes: size,
                total: size,
            });
        };
        let _one_at_a_time = self.shared.blobs.lock(digest).await;
        if !store.has_blob(digest, size) {
            self.download(digest, size, diff_id).await?;
            tell(Phase::Done);
            return Ok(());
        }
        match diff_id {
            Some(diff_id) if !is_unpacked(store, diff_id) => {
                tell(Phase::Unpacking);
                let layer = Layer {
                    blob: digest,
                    size,
                    diff_id,
                };
                self.shared.unpacker.unpack(store, layer).await?;
                tell(Phase::Done);
            }
            _ => tell(Phase::Exists),
        }
        Ok(())
    }

    async fn download(
        &self,
        digest: Digest,
        size: u64,
        diff_id: Option<Digest>,
    ) -> Result<(), PullError> {
        let store = Arc::clone(&self.shared.store);
        let new = diff_id.filter(|diff_id| !is_unpacked(&store, *diff_id));
        let mut worker: Option<(Running, Digest)> = match new {
            Some(diff_id) => {
                let layer = Layer {
                    blob: digest,
                    size,
                    diff_id,
                };
                let running = self.shared.unpacker.start_streaming(&store, layer).await?;
                Some((running, diff_id))
            }
            None => None,
        };
        let feed = match worker.as_mut().and_then(|(running, _)| running.input()) {
            Some(input) => {
                let input = input.into_owned_fd().map_err(UnpackError::Worker)?;
                Some(Stream::new(input))
            }
            None => None,
        };
        let (sink, pieces) = mpsc::channel(QUEUE);
        let into = Arc::clone(&store);
        let writer = tokio::task::spawn_blocking(move || take_in(&into, digest, pieces, feed));
        let fetched = self.fetch(digest, size, &sink).await;
        drop(sink);
        let written = writer.await.map_err(|_| PullError::Cancelled)?;
        // What the worker says of a bad layer explains more than a pipe that broke.
        let unpacked = match worker {
            Some((running, diff_id)) if fetched.is_ok() => running.finish(&store, diff_id).await,
            _ => Ok(()),
        };
        fetched?;
        written?;
        unpacked?;
        Ok(())
    }

    async fn fetch(
        &self,
        digest: Digest,
        size: u64,
        sink: &mpsc::Sender<Bytes>,
    ) -> Result<(), RegistryError> {
        let mut download = Download::new(digest, size, sink, &self.report);
        let mut last = self.no_host();
        for session in self.hosts() {
            match download.run(session).await {
                Ok(()) => return Ok(()),
                Err(error) => last = give_up(session, error),
            }
        }
        Err(last)
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

/// Writes a blob's pieces into the store and, as long as it takes them, to the worker that unpacks them.
fn take_in(
    store: &Store,
    digest: Digest,
    mut pieces: mpsc::Receiver<Bytes>,
    mut feed: Option<Stream>,
) -> Result<(), IngestError> {
    let mut ingest: Ingest<'_> = store.ingest()?;
    let mut writer = ingest.writer()?;
    while let Some(piece) = pieces.blocking_recv() {
        writer.write_all(&piece).map_err(IngestError::Write)?;
        if let Some(stream) = &mut feed {
            // A worker that has ended early says why in its verdict.
            if stream.write_all(&piece).is_err() {
                feed = None;
            }
        }
    }
    drop(feed);
    ingest.take(&writer, Some(digest))?;
    ingest.commit(|_| true)?;
    Ok(())
}

/// Asks another host first from now on.
fn give_up(session: &Session, error: RegistryError) -> RegistryError {
    session.avoid();
    tracing::debug!(%error, host = session.host(), "asking the next host");
    error
}

fn name_image(store: &Store, name: String, descriptor: Descriptor) -> Result<(), StoreError> {
    let guard = store.lock();
    store
        .change_names(&guard, |names| names.insert(name, descriptor))
        .map(drop)
}

fn parse(fetched: &Fetched) -> Result<Document, PullError> {
    Document::parse(&fetched.bytes, &fetched.descriptor.media_type).map_err(|source| {
        PullError::Document {
            digest: fetched.digest,
            source,
        }
    })
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, PullError> {
    descriptor.digest.parse().map_err(|source| {
        GraphError::Digest {
            digest: descriptor.digest.clone(),
            source,
        }
        .into()
    })
}
