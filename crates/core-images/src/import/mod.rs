//! `image import`: an image from a root file system's tar.

mod changes;

use std::io::Read;
use std::sync::Arc;

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;
use serde_json::{Value, json};

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
}

/// Why an image can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An instruction is wrong.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The tar is no layer.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The blobs can't be taken in.
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

/// Makes an image that is ready to run; gives its name and its manifest's digest. Nothing stays of one that fails.
pub async fn import(
    store: Arc<Store>,
    unpacker: Arc<Unpacker>,
    input: impl Read + Send + 'static,
    request: Import,
) -> Result<(String, Digest), ImportError> {
    let config = changes::apply(&request.changes)?;
    let mut pin = store.pin();
    let made = make(&store, &unpacker, input, &request, &config, &mut pin).await;
    blocking(move || {
        let guard = store.lock();
        let (descriptor, digest) = match made {
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
        Ok((name, digest))
    })
    .await?
}

/// The manifest of an image whose parts are in the store, without a name yet.
async fn make(
    store: &Arc<Store>,
    unpacker: &Unpacker,
    input: impl Read + Send + 'static,
    request: &Import,
    config: &Value,
    pin: &mut Pin,
) -> Result<(Descriptor, Digest), ImportError> {
    let into = Arc::clone(store);
    let (layer, blob, taken) = blocking(move || take_blob(&into, input)).await??;
    pin.take_over(taken);
    // The worker says what the tar's digest is, and whether it is a tar at all.
    let diff_id = unpacker.convert(store, blob, layer.size, pin).await?;
    let document = document(request, config, diff_id);
    let into = Arc::clone(store);
    let (descriptor, digest, taken) =
        blocking(move || take_documents(&into, &document, layer)).await??;
    pin.take_over(taken);
    root::prepare(store, unpacker, digest, pin).await?;
    Ok((descriptor, digest))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ImportError::Cancelled)
}

fn take_blob(store: &Store, input: impl Read) -> Result<(Descriptor, Digest, Pin), ImportError> {
    let budget = store.space(&store.paths().content())?.free;
    let mut ingest = store.ingest()?;
    let (layer, digest) = take_layer(&mut ingest, input, budget)?;
    let pin = ingest.commit(|_| true)?;
    Ok((layer, digest, pin))
}

/// The image's configuration.
fn document(request: &Import, config: &Value, diff_id: Digest) -> Value {
    let created = jiff::Timestamp::now().to_string();
    let mut document = json!({
        "created": created,
        "architecture": request.platform.architecture,
        "os": request.platform.os,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": created, "comment": request.message }],
    });
    if let Some(variant) = &request.platform.variant {
        document["variant"] = json!(variant);
    }
    document
}

fn take_documents(
    store: &Store,
    document: &Value,
    layer: Descriptor,
) -> Result<(Descriptor, Digest, Pin), ImportError> {
    let mut ingest = store.ingest()?;
    let (digest, size) = ingest.take_bytes(document.to_string().as_bytes())?;
    let config = Descriptor::new(media::CONFIG, digest, size);
    let manifest = json!(Manifest::new(config, vec![layer])).to_string();
    let (digest, size) = ingest.take_bytes(manifest.as_bytes())?;
    let pin = ingest.commit(|_| true)?;
    Ok((Descriptor::new(media::MANIFEST, digest, size), digest, pin))
}
