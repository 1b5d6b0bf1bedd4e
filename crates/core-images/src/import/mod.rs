//! `image import`: an image from a root file system's tar.

mod archived;
mod base;
mod changes;
mod health;

use std::io::Read;
use std::sync::Arc;

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;
use serde_json::{Value, json};

use archived::Kept;
use base::Base;

pub use base::BaseError;
pub use changes::ChangeError;

use crate::image::{Manifest, media};
use crate::layer::unpack::{UnpackError, Unpacker};
use crate::recompress::take_layer;
use crate::root::{self, RootError};
use crate::store::{IngestError, Pin, Store, StoreError, UNTAGGED};

/// What to make of the tar.
#[derive(Clone, Debug)]
pub struct Import {
    /// Full name; `None`: one from the digest.
    pub name: Option<String>,
    /// What the root is for.
    pub platform: Platform,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// For the history.
    pub message: String,
    /// Author; empty: not given.
    pub author: String,
    /// Manifest of the image that the tar is a layer over.
    pub base: Option<Digest>,
}

/// Why an image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An instruction is wrong.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The tar is no layer.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The blobs cannot be taken in.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The image that it is a layer over cannot be read.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// A root cannot be made of it.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This process is ending.
    #[error("the work was given up")]
    Cancelled,
}

/// An image that was made.
#[derive(Debug)]
pub struct Imported {
    /// Its full name.
    pub name: String,
    /// Of its manifest.
    pub digest: Digest,
    /// What is odd, for people.
    pub warnings: Vec<String>,
}

/// What is imported is what another command is for.
const OF_IMAGES: &str = "this is an archive of images, and the new image has its files and runs nothing: `container image load` loads the images that are in it";

/// Makes an image that is ready to run. Nothing stays of one that fails.
pub async fn import(
    store: Arc<Store>,
    unpacker: Arc<Unpacker>,
    input: impl Read + Send + 'static,
    request: Import,
) -> Result<Imported, ImportError> {
    let mut pin = store.pin();
    let base = match request.base {
        Some(digest) => base::read(&store, digest, &mut pin)?,
        None => Base::default(),
    };
    let base = Base {
        config: changes::apply(base.config, &request.changes)?,
        ..base
    };
    let made = make(&store, &unpacker, input, &request, base, &mut pin).await;
    blocking(move || {
        let guard = store.lock();
        let (descriptor, digest, warnings) = match made {
            Ok(made) => made,
            Err(error) => {
                drop(pin);
                store.collect(&guard)?;
                return Err(error);
            }
        };
        let name = request
            .name
            .unwrap_or_else(|| format!("{UNTAGGED}{digest}"));
        store.change_names(&guard, |names| names.insert(name.clone(), descriptor))?;
        Ok(Imported {
            name,
            digest,
            warnings,
        })
    })
    .await?
}

/// The manifest of an image whose parts are in the store, without a name yet, and what is odd.
async fn make(
    store: &Arc<Store>,
    unpacker: &Unpacker,
    input: impl Read + Send + 'static,
    request: &Import,
    mut base: Base,
    pin: &mut Pin,
) -> Result<(Descriptor, Digest, Vec<String>), ImportError> {
    let into = Arc::clone(store);
    let (layer, blob, is_of_images, taken) = blocking(move || take_blob(&into, input)).await??;
    pin.take_over(taken);
    let is_odd = is_of_images && request.base.is_none();
    let warnings = is_odd.then(|| OF_IMAGES.to_owned()).into_iter().collect();
    // The worker says what the tar's digest is, and whether it is a tar at all.
    let diff_id = unpacker.convert(store, blob, layer.size, pin).await?;
    base.layers.push(layer);
    base.diff_ids.push(diff_id);
    let document = document(request, &mut base);
    let layers = base.layers;
    let into = Arc::clone(store);
    let (descriptor, digest, taken) =
        blocking(move || take_documents(&into, &document, layers)).await??;
    pin.take_over(taken);
    root::prepare(store, unpacker, digest, pin).await?;
    Ok((descriptor, digest, warnings))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ImportError::Cancelled)
}

/// Gives whether it is an archive of images, too.
fn take_blob(
    store: &Store,
    input: impl Read,
) -> Result<(Descriptor, Digest, bool, Pin), ImportError> {
    let budget = store.space(&store.paths().content())?.free;
    let mut ingest = store.ingest()?;
    let mut input = Kept::new(input);
    let (layer, digest) = take_layer(&mut ingest, &mut input, budget)?;
    let pin = ingest.commit(|_| true)?;
    Ok((layer, digest, input.is_of_images(), pin))
}

/// The image's configuration.
fn document(request: &Import, base: &mut Base) -> Value {
    let created = jiff::Timestamp::now().to_string();
    let mut step = json!({ "created": created, "comment": request.message });
    if !request.author.is_empty() {
        step["author"] = json!(request.author);
    }
    base.history.push(step);
    let platform = base.platform.as_ref().unwrap_or(&request.platform);
    let mut document = json!({
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": base.config,
        "rootfs": { "type": "layers", "diff_ids": base.diff_ids },
        "history": base.history,
    });
    if let Some(variant) = &platform.variant {
        document["variant"] = json!(variant);
    }
    if !request.author.is_empty() {
        document["author"] = json!(request.author);
    }
    document
}

fn take_documents(
    store: &Store,
    document: &Value,
    layers: Vec<Descriptor>,
) -> Result<(Descriptor, Digest, Pin), ImportError> {
    let mut ingest = store.ingest()?;
    let (digest, size) = ingest.take_bytes(document.to_string().as_bytes())?;
    let config = Descriptor::new(media::CONFIG, digest, size);
    let manifest = json!(Manifest::new(config, layers)).to_string();
    let (digest, size) = ingest.take_bytes(manifest.as_bytes())?;
    let pin = ingest.commit(|_| true)?;
    Ok((Descriptor::new(media::MANIFEST, digest, size), digest, pin))
}
