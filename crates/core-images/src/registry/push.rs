//! Pushing: blobs that the registry lacks, then manifests, the named one last.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;
use container_resource::reference::{Reference, Version};
use futures::{StreamExt, TryStreamExt, stream};

use super::client::{Action, Registries};
use super::error::RegistryError;
use super::http::Session;
use super::progress::{Phase, Progress, Report};
use super::referrers::Referrer;
use super::scheme::Scheme;
use super::upload::Upload;
use crate::image::{Document, Found, Graph, GraphError, MAX_DOCUMENT, NoContent, digest_of, media};
use crate::store::{Store, StoreError};

/// Blobs on their way out at a time.
const PARALLEL: usize = 3;

/// Why an image cannot be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The image has no name that a registry could know it by.
    #[error("image {0} has no tag to push it under: tag it first")]
    NoName(String),
    /// The image is not there for the platform.
    #[error(transparent)]
    NoPlatform(#[from] NoContent),
    /// A part of the image is missing here.
    #[error("image {name} cannot be pushed")]
    Image {
        /// Of the image.
        name: String,
        /// Why.
        source: GraphError,
    },
    /// Not all platforms of the index are here.
    #[error("image {name} cannot be pushed whole, only these platforms are here: {available}")]
    Incomplete {
        /// Of the image.
        name: String,
        /// What there is.
        available: String,
    },
    /// A manifest's subject cannot be read.
    #[error("the manifest {digest} is malformed")]
    Referrer {
        /// Of the manifest.
        digest: Digest,
        /// Why.
        source: serde_json::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be sent, children before parents.
struct Selection {
    blobs: BTreeMap<Digest, u64>,
    manifests: Vec<(Digest, Descriptor)>,
}

/// Pushes an image under its own name; gives the digest that the name stands for then.
pub async fn push(
    store: &Arc<Store>,
    registries: &Registries,
    image: &Found,
    scheme: Scheme,
    platform: Option<&Platform>,
    report: Report,
) -> Result<Digest, PushError> {
    let reference: Reference = image
        .name
        .parse()
        .map_err(|_| PushError::NoName(image.name.clone()))?;
    let selection = select(store, image, platform)?;
    let mut pin = store.pin();
    for (digest, _) in &selection.manifests {
        pin.hold(*digest);
    }
    for digest in selection.blobs.keys() {
        pin.hold(*digest);
    }
    let sessions = registries
        .sessions(&reference, scheme, Action::Push)
        .await?;
    let Some(session) = sessions.first() else {
        return Err(RegistryError::Protocol {
            host: reference.domain().to_owned(),
            reason: "its configuration allows no push".into(),
        }
        .into());
    };
    let neighbours = neighbours(store, &reference)?;
    let work: Vec<_> = selection
        .blobs
        .iter()
        .map(|(digest, size)| {
            let from = neighbours.get(digest).map(String::as_str);
            blob(store, session, *digest, *size, from, &report)
        })
        .collect();
    stream::iter(work)
        .buffer_unordered(PARALLEL)
        .try_collect::<Vec<()>>()
        .await?;
    manifests(store, session, &reference, &selection.manifests, &report).await
}

async fn blob(
    store: &Store,
    session: &Session,
    digest: Digest,
    size: u64,
    mount_from: Option<&str>,
    report: &Report,
) -> Result<(), PushError> {
    let tell = |phase| {
        report(Progress {
            digest: Some(digest),
            phase,
            bytes: size,
            total: size,
        });
    };
    if session.has_blob(digest).await? {
        tell(Phase::Exists);
        return Ok(());
    }
    let file = Arc::new(store.open_blob(digest)?);
    let sent = session
        .upload(&Upload { digest, size, file }, mount_from, report)
        .await?;
    tell(if sent { Phase::Done } else { Phase::Exists });
    Ok(())
}

async fn manifests(
    store: &Store,
    session: &Session,
    reference: &Reference,
    manifests: &[(Digest, Descriptor)],
    report: &Report,
) -> Result<Digest, PushError> {
    let mut last = None;
    for (index, (digest, descriptor)) in manifests.iter().enumerate() {
        let bytes = Bytes::from(store.read_blob(*digest, MAX_DOCUMENT)?);
        let is_named = index + 1 == manifests.len();
        let text = match reference.version() {
            Version::Tag(tag) if is_named => tag.clone(),
            _ => digest.to_string(),
        };
        let referrer = Referrer::of(descriptor, &bytes).map_err(|source| PushError::Referrer {
            digest: *digest,
            source,
        })?;
        // One that refers to another is put again: the registry may not have taken note the last time.
        if is_named || referrer.is_some() || !session.has_manifest(*digest).await? {
            let noted = session
                .put_manifest(&text, &descriptor.media_type, bytes)
                .await?;
            if let Some(referrer) = referrer.filter(|it| !it.is_noted(noted.as_deref())) {
                session.add_referrer(&referrer).await?;
            }
        }
        last = Some(*digest);
    }
    report(Progress {
        digest: None,
        phase: Phase::Done,
        bytes: 0,
        total: 0,
    });
    last.ok_or_else(|| PushError::NoName(reference.to_string()))
}

fn select(
    store: &Store,
    image: &Found,
    platform: Option<&Platform>,
) -> Result<Selection, PushError> {
    let name = &image.name;
    let failed = |source| PushError::Image {
        name: name.clone(),
        source,
    };
    let mut graph = Graph::walk(&mut &*store, &image.descriptor);
    if let Some(damage) = graph.damage.pop() {
        return Err(failed(damage));
    }
    let mut selection = Selection {
        blobs: BTreeMap::new(),
        manifests: Vec::new(),
    };
    let roots = match platform {
        None if !graph.absent.is_empty() => {
            let available = graph.platforms();
            return Err(PushError::Incomplete {
                name: name.clone(),
                available,
            });
        }
        None => image.descriptor.clone(),
        Some(platform) => match graph.variant(platform) {
            Some(variant) => variant.descriptor.clone(),
            None => {
                return Err(NoContent {
                    name: name.clone(),
                    platform: platform.clone(),
                    available: graph.platforms(),
                }
                .into());
            }
        },
    };
    // The walk has checked depth and number already.
    let mut rest = vec![roots];
    while let Some(descriptor) = rest.pop() {
        let digest = digest_of(&descriptor).map_err(failed)?;
        let bytes = store.read_blob(digest, MAX_DOCUMENT)?;
        let document = Document::parse(&bytes, &descriptor.media_type)
            .map_err(|source| failed(GraphError::Document { digest, source }))?;
        let default = match &document {
            Document::Index(_) => media::INDEX,
            Document::Manifest(_) => media::MANIFEST,
        };
        match document {
            Document::Index(children) => rest.extend(children),
            Document::Manifest(manifest) => {
                for part in manifest.layers.iter().chain([&manifest.config]) {
                    selection
                        .blobs
                        .insert(digest_of(part).map_err(failed)?, part.size);
                }
            }
        }
        let mut descriptor = descriptor;
        if descriptor.media_type.is_empty() {
            descriptor.media_type = default.into();
        }
        selection.manifests.push((digest, descriptor));
    }
    // Parents were met first; a registry wants to have the children before.
    selection.manifests.reverse();
    Ok(selection)
}

/// Repositories of the same registry that have a blob, as far as we know: from them it can be mounted.
fn neighbours(store: &Store, reference: &Reference) -> Result<BTreeMap<Digest, String>, PushError> {
    let mut found = BTreeMap::new();
    for (name, descriptor) in store.names()?.iter() {
        let Ok(other) = name.parse::<Reference>() else {
            continue;
        };
        if other.domain() != reference.domain() || other.path() == reference.path() {
            continue;
        }
        for digest in Graph::walk(&mut &*store, descriptor).blobs {
            found.insert(digest, other.path().to_owned());
        }
    }
    Ok(found)
}
