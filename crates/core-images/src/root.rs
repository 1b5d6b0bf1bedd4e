//! An image's root: one read-only disk, composed of a view and the layers it points into.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use erofs::{Image, Limits, MergeError, ReadError, View, WriteError};
use futures::future::try_join_all;
use sha2::{Digest as _, Sha256};

use crate::image::{Graph, GraphError, Variant};
use crate::layer::unpack::{Layer, UnpackError, Unpacker};
use crate::store::{Pin, Store, StoreError, Temporary};

/// Changes when the way changes in which views or layers are written.
const FORMAT: &[u8] = b"container view 1";
/// Most inodes of a merged root.
const LIMITS: Limits = Limits {
    inodes: 1 << 22,
    bytes: 1 << 30,
};

/// A file that is a run of the composed disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The file.
    pub path: PathBuf,
    /// Bytes of it, from its start: all.
    pub length: u64,
}

/// Why an image's root can't be made.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// No such image, or not one that has a root.
    #[error("the image {0} can't be run: it is not in the store, or it is no image")]
    NoImage(Digest),
    /// It is damaged.
    #[error("the image {digest} is damaged")]
    Damaged {
        /// Of its manifest.
        digest: Digest,
        /// How.
        source: GraphError,
    },
    /// A layer can't be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// An unpacked layer is damaged.
    #[error("the unpacked layer {path} can't be used")]
    Layer {
        /// Its file.
        path: String,
        /// How.
        source: ReadError,
    },
    /// The layers can't be merged.
    #[error("the image's layers can't be merged")]
    Merge(#[from] MergeError),
    /// The view can't be written.
    #[error("the image's root can't be written")]
    Write(#[from] WriteError),
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
    try_join_all(layers.iter().map(|layer| unpacker.unpack(store, *layer))).await?;
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    let store = Arc::clone(store);
    tokio::task::spawn_blocking(move || compose(&store, manifest, &diff_ids))
        .await
        .map_err(|_| RootError::Cancelled)?
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

fn compose(store: &Store, manifest: Digest, diff_ids: &[Digest]) -> Result<Vec<Extent>, RootError> {
    let mut images = Vec::with_capacity(diff_ids.len());
    let mut extents = Vec::with_capacity(diff_ids.len() + 1);
    let mut identity = Sha256::new();
    identity.update(FORMAT);
    for diff_id in diff_ids {
        let path = store.paths().layer(*diff_id);
        let damaged = |source| RootError::Layer {
            path: path.display().to_string(),
            source,
        };
        let file = File::open(&path).map_err(StoreError::file(&path))?;
        let image = Image::open_whole(file).map_err(damaged)?;
        identity.update(diff_id.bytes());
        identity.update(image.blocks().to_le_bytes());
        let length = u64::from(image.blocks()) * erofs::BLOCK_SIZE;
        extents.push(Extent { path, length });
        images.push(image);
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&identity.finalize()[..16]);
    let path = store.paths().view(manifest);
    if !is_current(&path, uuid) {
        write_view(store, &images, &path, uuid)?;
    }
    let length = path.metadata().map_err(StoreError::file(&path))?.len();
    extents.insert(0, Extent { path, length });
    Ok(extents)
}

fn is_current(path: &std::path::Path, uuid: [u8; 16]) -> bool {
    File::open(path)
        .ok()
        .and_then(|file| Image::open(file).ok())
        .is_some_and(|view| view.uuid() == uuid)
}

fn write_view(
    store: &Store,
    images: &[Image<File>],
    path: &std::path::Path,
    uuid: [u8; 16],
) -> Result<(), RootError> {
    let view = View::merge(images, LIMITS)?;
    let directory = store.paths().views();
    let temporary = Temporary::create(&directory).map_err(StoreError::file(&directory))?;
    let mut out = std::io::BufWriter::new(temporary.file());
    view.write(&mut out, uuid)?;
    out.into_inner()
        .map_err(|error| WriteError::Io(error.into_error()))?;
    temporary.publish(path).map_err(StoreError::file(path))?;
    Ok(())
}
