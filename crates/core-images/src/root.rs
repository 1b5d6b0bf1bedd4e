//! An image's root: one read-only disk, composed of a view and the layers it points into.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use container_files::Links;
use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::stamp::Stamp;
use erofs::Image;
use futures::future::try_join_all;
use sha2::{Digest as _, Sha256};

use crate::image::{Graph, GraphError, Variant};
use crate::layer::merge::{self, MergeLayersError};
use crate::layer::unpack::{Layer, UnpackError, Unpacker, check};
use crate::seal::Intact;
use crate::store::{Pin, Store, StoreError, Temporary};

/// Changes when the way changes in which views or layers are written.
const FORMAT: &[u8] = b"container view 1";

/// A file that is a run of the composed disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The file.
    pub path: PathBuf,
    /// Bytes of it, from its start: all.
    pub length: u64,
    /// As long as the file has this one, it is what was written.
    pub stamp: Stamp,
}

/// Why an image's root cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// No such image, or not one that has a root.
    #[error("the image {0} cannot be run: it is not in the store, or it is no image")]
    NoImage(Digest),
    /// It is damaged.
    #[error("the image {digest} is damaged")]
    Damaged {
        /// Of its manifest.
        digest: Digest,
        /// How.
        source: GraphError,
    },
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The layers cannot be merged.
    #[error(transparent)]
    Merge(#[from] MergeLayersError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This process is ending.
    #[error("the work was given up")]
    Cancelled,
}

/// Makes the root of the image with that manifest. What it needs stays as long as `pin`.
pub async fn prepare(
    store: &Arc<Store>,
    unpacker: &Unpacker,
    manifest: Digest,
    pin: &mut Pin,
) -> Result<Vec<Extent>, RootError> {
    pin.hold(manifest);
    let variant = load(store, manifest)?;
    let layers = layers(&variant, pin)?;
    let allowance = unpacker.allowance();
    let unpacked = layers
        .iter()
        .map(|layer| unpacker.unpack(store, *layer, &allowance));
    let unpacked = try_join_all(unpacked).await?;
    let mut extents = Vec::with_capacity(layers.len() + 1);
    let mut identity = Sha256::new();
    identity.update(FORMAT);
    for (layer, found) in layers.iter().zip(unpacked) {
        identity.update(layer.diff_id.bytes());
        identity.update((found.length / erofs::BLOCK_SIZE).to_le_bytes());
        extents.push(extent(store.paths().layer(layer.diff_id), found));
    }
    let identity = Digest::new(identity.finalize().into());
    let path = store.paths().view(manifest);
    let found = view(store, unpacker, manifest, &path, &extents, identity).await?;
    extents.insert(0, extent(path, found));
    Ok(extents)
}

fn extent(path: PathBuf, found: Intact) -> Extent {
    Extent {
        path,
        length: found.length,
        stamp: found.stamp,
    }
}

/// The layers of an image, pinned.
pub fn layers(variant: &Variant, pin: &mut Pin) -> Result<Vec<Layer>, RootError> {
    let digest = variant.digest;
    let mut layers = Vec::new();
    for (layer, diff_id) in variant
        .manifest
        .layers
        .iter()
        .zip(&variant.config.rootfs.diff_ids)
    {
        let blob = layer.digest.parse().map_err(|source| RootError::Damaged {
            digest,
            source: GraphError::Digest {
                digest: layer.digest.clone(),
                source,
            },
        })?;
        pin.hold(blob);
        pin.hold(*diff_id);
        layers.push(Layer {
            blob,
            size: layer.size,
            diff_id: *diff_id,
        });
    }
    Ok(layers)
}

fn load(store: &Store, manifest: Digest) -> Result<Variant, RootError> {
    let bytes = store.read_blob(manifest, crate::image::MAX_DOCUMENT)?;
    let descriptor = Descriptor::new("", manifest, bytes.len() as u64);
    let mut graph = Graph::walk(&mut &*store, &descriptor);
    // A layer's blob may be gone once the layer is unpacked.
    let is_harmless =
        |damage: &GraphError| matches!(damage, GraphError::Store(StoreError::MissingBlob(_)));
    if let Some(at) = graph.damage.iter().position(|damage| !is_harmless(damage)) {
        return Err(RootError::Damaged {
            digest: manifest,
            source: graph.damage.swap_remove(at),
        });
    }
    let variant = graph
        .variants
        .into_iter()
        .find(|variant| variant.digest == manifest);
    variant.ok_or(RootError::NoImage(manifest))
}

/// The view over `layers`: the one that is there, if it is what was written and is of these very layers.
async fn view(
    store: &Arc<Store>,
    unpacker: &Unpacker,
    manifest: Digest,
    path: &Path,
    layers: &[Extent],
    identity: Digest,
) -> Result<Intact, RootError> {
    let uuid = merge::uuid(identity);
    if let Some(intact) = store.seals().known(path).filter(|_| is_of(path, uuid)) {
        return Ok(intact);
    }
    let _one_at_a_time = unpacker.works.lock(manifest).await;
    store.paths().restore_caches()?;
    match check(store, path.to_owned()).await? {
        Ok(intact) if is_of(path, uuid) => return Ok(intact),
        Ok(_) => {}
        Err(damage) => {
            tracing::debug!(path = %path.display(), error = &damage as &dyn std::error::Error, "a view is made");
        }
    }
    let directory = store.paths().views();
    let temporary = Temporary::create(&directory).map_err(StoreError::file(&directory))?;
    let open = |layer: &Extent| {
        container_files::open(&layer.path, Links::Refuse).map_err(StoreError::file(&layer.path))
    };
    let files: Result<Vec<File>, StoreError> = layers.iter().map(open).collect();
    merge::merge(&unpacker.program, files?, temporary.file(), identity).await?;
    let (seals, destination) = (Arc::clone(store.seals()), path.to_owned());
    let published = tokio::task::spawn_blocking(move || seals.publish(temporary, &destination));
    let published = published.await.map_err(|_| RootError::Cancelled)?;
    Ok(published.map_err(StoreError::file(path))?)
}

/// Whether a view's superblock has that identity.
fn is_of(path: &Path, uuid: [u8; 16]) -> bool {
    container_files::open(path, Links::Refuse)
        .ok()
        .and_then(|file| Image::open(file).ok())
        .is_some_and(|view| view.uuid() == uuid)
}
