//! Pulling: what is missing comes in, in parallel, and layers are unpacked while they do.

mod blobs;
mod documents;

use std::collections::HashMap;
use std::sync::Arc;

use container_api::Chain;
use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;
use container_resource::reference::{Reference, Version};

use super::client::{Action, Registries};
use super::error::RegistryError;
use super::http::Session;
use super::manifest::Fetched;
use super::progress::{Phase, Progress, Report};
use super::scheme::Scheme;
use crate::image::{
    Document, DocumentError, Graph, GraphError, Manifest, NoContent, annotations, media,
};
use crate::keyed::KeyedLocks;
use crate::layer::bounds::Allowance;
use crate::layer::unpack::{UnpackError, Unpacker};
use crate::root::{self, RootError};
use crate::store::{IngestError, Pin, Store, StoreError};

/// Which of an image's platforms are pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One.
    One(Platform),
    /// All that the index names.
    All,
}

/// Why an image cannot be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A document cannot be used.
    #[error("the image's document {digest} cannot be used")]
    Document {
        /// Which one.
        digest: Digest,
        /// Why.
        source: DocumentError,
    },
    /// The image is not made for the platform.
    #[error(transparent)]
    NoPlatform(#[from] NoContent),
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] GraphError),
    /// A blob cannot be taken in.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The root cannot be made.
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
    /// Of what is pulled together, which is one image mostly.
    allowance: Allowance,
}

/// A manifest that is to be pulled, and its layers' diff ids when it is an image that can run.
struct PulledManifest {
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
            allowance: self.unpacker.allowance(),
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
        let mut last = None;
        let mut before = Vec::new();
        for session in self.hosts() {
            match session.manifest(text, expected).await {
                Ok(fetched) => return Ok(fetched),
                // The registry itself comes last, and its answer counts.
                Err(error) => before.extend(last.replace(give_up(session, error))),
            }
        }
        let before: Vec<String> = before.iter().map(ToString::to_string).collect();
        Err(match last {
            None => self.no_host(),
            Some(last) if before.is_empty() => last,
            Some(last) => RegistryError::Everywhere {
                before: before.join("; "),
                source: Box::new(last),
            },
        })
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
}

/// Asks another host first from now on.
fn give_up(session: &Session, error: RegistryError) -> RegistryError {
    session.avoid();
    tracing::debug!(error = %Chain(&error), host = session.host(), "asking the next host");
    error
}

fn name_image(store: &Store, name: String, mut descriptor: Descriptor) -> Result<(), StoreError> {
    annotations::set_origin(&mut descriptor, &name);
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
