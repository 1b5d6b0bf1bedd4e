//! `image load`.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;
use container_resource::size::memory;

use super::candidates::Candidates;
use super::content::Content;
use crate::image::{Graph, GraphError, annotations};
use crate::layer::unpack::Unpacker;
use crate::root::{self, RootError};
use crate::store::{Ingest, IngestError, Pin, Space, Store, StoreError, UNTAGGED};
use container_archive::tar::TarError;

/// How an archive is loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Skips members whose path would lead out of the archive.
    pub force: bool,
    /// Full names. Where there are some, the archive holds one image, which gets these names and no others.
    pub names: Vec<String>,
}

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Full names.
    pub references: Vec<String>,
    /// Members that were skipped because their path would lead out of the archive.
    pub rejected: Vec<String>,
    /// What is odd, for people.
    pub warnings: Vec<String>,
    /// Why parts of the archive were left out.
    pub failures: Vec<LoadError>,
}

/// Why an archive, or a part of it, cannot be loaded. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The stream failed.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// The stream ends early.
    #[error("the archive is truncated")]
    Truncated,
    /// The disk is full.
    #[error("no disk space is left for the archive")]
    NoSpace,
    /// The disk is nearly full.
    #[error(
        "the archive takes more than {}, what is free on the disk beside the {} that are left to others (storage.reserve)",
        memory(.0.free), memory(.0.reserve)
    )]
    Reserve(Space),
    /// Not a tar archive.
    #[error("the archive is malformed")]
    Tar(#[source] TarError),
    /// Members with paths that lead out of the archive.
    #[error("the archive contains invalid members, rejected paths: {}", .0.join(", "))]
    Rejected(Vec<String>),
    /// A member that no image archive has: a link in place of a blob.
    #[error("the archive's member {0:?} is not allowed")]
    Member(String),
    /// A device or a FIFO.
    #[error("the archive's member {0:?} is not allowed: it is a device or a FIFO")]
    Device(String),
    /// Two members with one path and different content.
    #[error("the archive has two members {0:?}")]
    Twice(String),
    /// More members than make sense.
    #[error("the archive has more than {0} members")]
    TooMany(usize),
    /// A member cannot be copied.
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
    /// One image is expected.
    #[error("the archive contains {0} images, and one is expected")]
    Several(usize),
    /// The index names no image.
    #[error("the archive contains no images")]
    Empty,
    /// The index does not parse.
    #[error("the archive's index is malformed")]
    Index(#[source] serde_json::Error),
    /// An entry of the index is invalid.
    #[error("the entry {0} of the archive's index is malformed")]
    Entry(usize, #[source] serde_json::Error),
    /// An image is not whole.
    #[error("the archive's image {0} cannot be used")]
    Image(String, #[source] GraphError),
    /// An image lacks a part, and can be used without it.
    #[error("a part of the archive's image {0} is left out")]
    Part(String, #[source] GraphError),
    /// An image has no part that could be used.
    #[error("the archive's image {0} is incomplete: none of its manifests is there")]
    Incomplete(String),
    /// Taking blobs in failed.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A root cannot be made of it.
    #[error("the archive's image {0} cannot be unpacked")]
    Root(String, #[source] Box<RootError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This process is ending.
    #[error("the work was given up")]
    Cancelled,
}

/// Told the bytes read so far; says whether to go on.
pub type Progress = Box<dyn FnMut(u64) -> bool + Send>;

/// Loads the images of an archive: those that can run here are unpacked before they get their names. One that cannot be used spoils no
/// other; when there is no other, its failure is the answer.
pub async fn load(
    store: Arc<Store>,
    unpacker: &Unpacker,
    input: impl Read + Send + 'static,
    options: LoadOptions,
    mut progress: Progress,
) -> Result<Loaded, LoadError> {
    let into = Arc::clone(&store);
    let taken = blocking(move || take_in(&into, input, &options, &mut progress)).await?;
    let Arrived {
        mut images,
        mut loaded,
        mut pin,
    } = taken?;
    unpack(&store, unpacker, &mut images, &mut loaded, &mut pin).await;
    blocking(move || {
        let guard = store.lock();
        loaded.references = images.iter().map(|image| image.name.clone()).collect();
        store.change_names(&guard, |names| {
            for mut image in images {
                annotations::clear_origin(&mut image.descriptor);
                names.insert(image.name, image.descriptor);
            }
        })?;
        drop(pin);
        if !loaded.failures.is_empty() {
            store.collect(&guard)?;
        }
        if loaded.references.is_empty() {
            return Err(loaded
                .failures
                .into_iter()
                .next()
                .unwrap_or(LoadError::Empty));
        }
        Ok(loaded)
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
    images: Vec<Image>,
    /// The report so far.
    loaded: Loaded,
    pin: Pin,
}

/// An image, once for each of its names.
struct Image {
    name: String,
    descriptor: Descriptor,
    /// The manifest that runs on this machine.
    own: Option<Digest>,
}

fn take_in(
    store: &Store,
    input: impl Read,
    options: &LoadOptions,
    progress: &mut Progress,
) -> Result<Arrived, LoadError> {
    let mut ingest = store.ingest()?;
    let budget = store.space(&store.paths().content())?;
    let content = Content::read(input, &mut ingest, budget, progress)?;
    if !options.force && !content.rejected.is_empty() {
        return Err(LoadError::Rejected(content.rejected));
    }
    let mut found = Candidates::of(store, &content, &mut ingest)?;
    if !options.names.is_empty() {
        match found.images.as_mut_slice() {
            [only] => only.names.clone_from(&options.names),
            [] => {}
            several => return Err(LoadError::Several(several.len())),
        }
    }
    let mut loaded = Loaded {
        rejected: content.rejected,
        warnings: found.warnings,
        failures: found.failures,
        ..Loaded::default()
    };
    let mut wanted = BTreeSet::new();
    let mut images: Vec<Image> = Vec::new();
    let mut unnamed = Vec::new();
    for candidate in found.images {
        let descriptor = &candidate.descriptor;
        let shown = candidate.names.first().unwrap_or(&descriptor.digest);
        let own = match check(&mut ingest, shown, descriptor, &mut loaded) {
            Ok((blobs, own)) => {
                wanted.extend(blobs);
                own
            }
            Err(error) => {
                loaded.failures.push(error);
                continue;
            }
        };
        for name in candidate.names {
            let image = Image {
                name,
                descriptor: candidate.descriptor.clone(),
                own,
            };
            name_image(&mut images, image, &mut loaded.warnings);
        }
        unnamed.push((candidate.descriptor, own));
    }
    for (descriptor, own) in unnamed {
        let has_name = |image: &Image| image.descriptor.digest == descriptor.digest;
        if !images.iter().any(has_name) {
            images.push(Image {
                name: format!("{UNTAGGED}{}", descriptor.digest),
                descriptor,
                own,
            });
        }
    }
    let pin = ingest.commit(|digest| wanted.contains(&digest))?;
    Ok(Arrived {
        images,
        loaded,
        pin,
    })
}

/// Two images may claim one name, as those for several platforms do that are in no index of their own: the one
/// that runs here has it then, and the other none.
fn name_image(images: &mut Vec<Image>, image: Image, warnings: &mut Vec<String>) {
    let Some(other) = images.iter_mut().find(|other| other.name == image.name) else {
        images.push(image);
        return;
    };
    if other.descriptor.digest == image.descriptor.digest {
        return;
    }
    let loser = if other.own.is_none() && image.own.is_some() {
        std::mem::replace(other, image)
    } else {
        image
    };
    warnings.push(format!(
        "the archive gives the name {} to several images: {} has none now",
        loser.name, loser.descriptor.digest
    ));
    images.push(Image {
        name: format!("{UNTAGGED}{}", loser.descriptor.digest),
        ..loser
    });
}

/// Unpacks what runs here; those that cannot be unpacked are taken out of `images`.
async fn unpack(
    store: &Arc<Store>,
    unpacker: &Unpacker,
    images: &mut Vec<Image>,
    loaded: &mut Loaded,
    pin: &mut Pin,
) {
    let mut done = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for image in images.iter() {
        let Some(manifest) = image.own.filter(|manifest| done.insert(*manifest)) else {
            continue;
        };
        if let Err(error) = root::prepare(store, unpacker, manifest, pin).await {
            loaded
                .failures
                .push(LoadError::Root(image.name.clone(), Box::new(error)));
            refused.insert(manifest);
        }
    }
    images.retain(|image| {
        !image
            .own
            .is_some_and(|manifest| refused.contains(&manifest))
    });
}

/// Everything that the image needs, and which manifest of it runs here. What is damaged of an image of which
/// another part can be used is only told.
fn check(
    ingest: &mut Ingest<'_>,
    name: &str,
    descriptor: &Descriptor,
    loaded: &mut Loaded,
) -> Result<(BTreeSet<Digest>, Option<Digest>), LoadError> {
    let graph = Graph::walk(ingest, descriptor);
    let is_usable = graph.variants.iter().any(|variant| variant.is_whole);
    let own = graph
        .variant(&Platform::host())
        .filter(|variant| variant.is_whole)
        .map(|variant| variant.digest);
    let mut damage = graph.damage.into_iter();
    if !is_usable {
        if let Some(error) = damage.next() {
            return Err(LoadError::Image(name.to_owned(), error));
        }
        if graph.artifacts.is_empty() && !graph.absent.is_empty() {
            return Err(LoadError::Incomplete(name.to_owned()));
        }
        if let Some(kind) = graph.artifacts.first() {
            loaded.warnings.push(format!(
                "{name} is not an image that can run: its configuration is of the type {kind:?}"
            ));
        }
    }
    loaded
        .failures
        .extend(damage.map(|error| LoadError::Part(name.to_owned(), error)));
    Ok((graph.blobs, own))
}
