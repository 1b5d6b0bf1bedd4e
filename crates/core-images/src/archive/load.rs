//! `image load`.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;
use container_resource::reference::ReferenceError;
use serde::Deserialize;

use super::content::Content;
use super::docker;
use crate::image::{Graph, GraphError, MAX_DOCUMENT};
use crate::layer::unpack::Unpacker;
use crate::root::{self, RootError};
use crate::store::{Ingest, IngestError, Pin, REF_NAME, Store, StoreError, UNTAGGED};
use crate::tar::TarError;

/// Annotations that hold an image's name, the best first (reference section 2.3).
const NAME_ANNOTATIONS: [&str; 3] = [
    "com.apple.containerization.image.name",
    "io.containerd.image.name",
    REF_NAME,
];

/// What was loaded.
#[derive(Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Full names.
    pub references: Vec<String>,
    /// Members that were skipped because their path would lead out of the archive.
    pub rejected: Vec<String>,
}

/// Why an archive can't be loaded. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The stream failed.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// The stream ends early.
    #[error("the archive is truncated")]
    Truncated,
    /// The disk is full, or nearly so.
    #[error("no disk space is left for the archive")]
    NoSpace,
    /// Not a tar archive.
    #[error("the archive is malformed")]
    Tar(#[source] TarError),
    /// Members with paths that lead out of the archive.
    #[error("the archive contains invalid members, rejected paths: {}", .0.join(", "))]
    Rejected(Vec<String>),
    /// A member that no image archive has: a device, a link in place of a blob.
    #[error("the archive's member {0:?} is not allowed")]
    Member(String),
    /// Two members with one path and different content.
    #[error("the archive has two members {0:?}")]
    Twice(String),
    /// More members than make sense.
    #[error("the archive has more than {0} members")]
    TooMany(usize),
    /// A member can't be copied.
    #[error("the archive's member {path:?} cannot be copied")]
    Copy {
        /// Which one.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A member is not what its name says.
    #[error("the archive's member {path:?} is refused")]
    Blob {
        /// Which one.
        path: String,
        /// Why.
        source: IngestError,
    },
    /// Neither `index.json` nor `manifest.json`.
    #[error("the archive is not an image archive: it has neither index.json nor manifest.json")]
    NoIndex,
    /// `manifest.json` names a file that is not there.
    #[error("the archive lacks {0:?}, which its manifest.json names")]
    MissingMember(String),
    /// The index names no image.
    #[error("the archive contains no images")]
    Empty,
    /// The index does not parse.
    #[error("the archive's index is malformed")]
    Index(#[source] serde_json::Error),
    /// An image's name is none.
    #[error("the archive names an image {name:?}")]
    Name {
        /// As written.
        name: String,
        /// Why.
        source: ReferenceError,
    },
    /// An image is not whole.
    #[error("the archive's image {0} cannot be used")]
    Image(String, #[source] GraphError),
    /// An image has no part that could be used.
    #[error("the archive's image {0} is incomplete: none of its manifests is there")]
    Incomplete(String),
    /// Taking blobs in failed.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A root can't be made of it.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This process is ending.
    #[error("the work was given up")]
    Cancelled,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// Told the bytes read so far; says whether to go on.
pub type Progress = Box<dyn FnMut(u64) -> bool + Send>;

/// Loads all images of an archive, or none: those that can run here are unpacked before they get their names.
/// `force` skips members whose path would lead out of the archive.
pub async fn load(
    store: Arc<Store>,
    unpacker: &Unpacker,
    input: impl Read + Send + 'static,
    force: bool,
    mut progress: Progress,
) -> Result<Loaded, LoadError> {
    let into = Arc::clone(&store);
    let taken = blocking(move || take_in(&into, input, force, &mut progress)).await?;
    let Arrived {
        images,
        rejected,
        mut pin,
    } = taken?;
    let unpacked = unpack(&store, unpacker, &images, &mut pin).await;
    blocking(move || {
        let guard = store.lock();
        if let Err(error) = unpacked {
            drop(pin);
            store.collect(&guard)?;
            return Err(error);
        }
        let references = images.iter().map(|(name, _)| name.clone()).collect();
        store.change_names(&guard, |names| {
            for (name, descriptor) in images {
                names.insert(name, descriptor);
            }
        })?;
        Ok(Loaded {
            references,
            rejected,
        })
    })
    .await?
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LoadError::Cancelled)
}

/// Images whose blobs are in the store, without names yet.
struct Arrived {
    images: Vec<(String, Descriptor)>,
    rejected: Vec<String>,
    pin: Pin,
}

fn take_in(
    store: &Store,
    input: impl Read,
    force: bool,
    progress: &mut Progress,
) -> Result<Arrived, LoadError> {
    let mut ingest = store.ingest()?;
    let budget = crate::store::free_space(&store.paths().content())?;
    let content = Content::read(input, &mut ingest, budget, progress)?;
    if !force && !content.rejected.is_empty() {
        return Err(LoadError::Rejected(content.rejected));
    }
    let images = match content.files.get("index.json") {
        Some((digest, _)) => named_images(store, &ingest.read(*digest, MAX_DOCUMENT)?)?,
        None => docker::named_images(store, &content, &mut ingest)?.ok_or(LoadError::NoIndex)?,
    };
    if images.is_empty() {
        return Err(LoadError::Empty);
    }
    let mut wanted = BTreeSet::new();
    for (_, descriptor) in &images {
        wanted.extend(check(&mut ingest, descriptor)?);
    }
    let pin = ingest.commit(|digest| wanted.contains(&digest))?;
    Ok(Arrived {
        images,
        rejected: content.rejected,
        pin,
    })
}

async fn unpack(
    store: &Arc<Store>,
    unpacker: &Unpacker,
    images: &[(String, Descriptor)],
    pin: &mut Pin,
) -> Result<(), LoadError> {
    let host = Platform::host();
    for (_, descriptor) in images {
        let graph = Graph::walk(&mut &**store, descriptor);
        if let Some(variant) = graph.variant(&host) {
            root::prepare(store, unpacker, variant.digest, pin).await?;
        }
    }
    Ok(())
}

/// The images of an OCI layout's index, with their full names.
fn named_images(store: &Store, index: &[u8]) -> Result<Vec<(String, Descriptor)>, LoadError> {
    let index: Index = serde_json::from_slice(index).map_err(LoadError::Index)?;
    let mut images: Vec<(String, Descriptor)> = Vec::new();
    for descriptor in index.manifests {
        let name = NAME_ANNOTATIONS
            .iter()
            .find_map(|key| descriptor.annotations.as_ref()?.get(*key))
            .filter(|name| !name.is_empty());
        let name = match name {
            Some(name) => store.normalise(name).map_err(|source| LoadError::Name {
                name: name.clone(),
                source,
            })?,
            None => format!("{UNTAGGED}{}", descriptor.digest),
        };
        images.push((name, descriptor));
    }
    Ok(images)
}

/// Everything that the image needs, if it is whole.
pub(super) fn check(
    ingest: &mut Ingest<'_>,
    descriptor: &Descriptor,
) -> Result<BTreeSet<Digest>, LoadError> {
    let mut graph = Graph::walk(ingest, descriptor);
    if let Some(damage) = graph.damage.pop() {
        return Err(LoadError::Image(descriptor.digest.clone(), damage));
    }
    if graph.variants.is_empty() && !graph.absent.is_empty() {
        return Err(LoadError::Incomplete(descriptor.digest.clone()));
    }
    Ok(graph.blobs)
}
