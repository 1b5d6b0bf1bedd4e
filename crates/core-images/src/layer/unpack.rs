//! Driving workers: which layers are unpacked, and where their images go.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use container_resource::digest::Digest;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::worker::Verdict;
use crate::store::{Store, StoreError, Temporary, free_space};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "unpack-layer";

/// A layer may expand to this much whatever its size …
const SMALL_BUDGET: u64 = 16 << 30;
/// … or to this many times its size, if that is more.
const RATIO: u64 = 200;
/// Most bytes of a verdict.
const MAX_VERDICT: u64 = 64 * 1024;

/// Starts workers, a few at a time.
#[derive(Debug)]
pub struct Unpacker {
    program: PathBuf,
    permits: Arc<Semaphore>,
    /// One lock per layer in work, so that it is unpacked once.
    layers: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

/// A compressed layer and what it must turn out to be.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Of the compressed bytes.
    pub blob: Digest,
    /// Their number.
    pub size: u64,
    /// Of the tar stream within.
    pub diff_id: Digest,
}

/// Why a layer can't be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The worker refused it.
    #[error("the layer {blob} is refused: {reason}")]
    Refused {
        /// Which one.
        blob: Digest,
        /// The worker's words.
        reason: String,
    },
    /// The worker ended without a verdict.
    #[error("the worker for the layer {blob} ended with {status}")]
    Died {
        /// Which one.
        blob: Digest,
        /// How.
        status: std::process::ExitStatus,
    },
    /// The content is not what the manifest says.
    #[error("the layer has the digest {found} where {expected} was announced")]
    Blob {
        /// By the manifest.
        expected: Digest,
        /// In fact.
        found: Digest,
    },
    /// The content is not what the configuration says.
    #[error("the layer {blob} unpacks to {found} where the image's configuration says {expected}")]
    DiffId {
        /// Which one.
        blob: Digest,
        /// By the configuration.
        expected: Digest,
        /// In fact.
        found: Digest,
    },
    /// The disk is nearly full.
    #[error("no disk space is left for the layer {0}")]
    NoSpace(Digest),
    /// The worker can't be run.
    #[error("the worker for layers can't be run")]
    Worker(#[source] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Unpacker {
    /// Workers are runs of this very program; as many at a time as there are CPUs.
    pub fn new() -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            program,
            permits: Arc::new(Semaphore::new(workers)),
            layers: Mutex::default(),
        })
    }

    /// Makes sure that the layer's image is there. The caller has pinned `layer.diff_id`.
    pub async fn unpack(&self, store: &Store, layer: Layer) -> Result<(), UnpackError> {
        let lock = self.lock_of(layer.diff_id);
        let _one_at_a_time = lock.lock().await;
        if is_unpacked(store, layer.diff_id) {
            return Ok(());
        }
        let blob = store.open_blob(layer.blob)?;
        self.start(store, layer, Stdio::from(blob))
            .await?
            .finish(store)
            .await
    }

    /// Starts a worker that is fed through [`Running::input`] while the layer arrives.
    pub async fn start_streaming(
        &self,
        store: &Store,
        layer: Layer,
    ) -> Result<Running, UnpackError> {
        self.start(store, layer, Stdio::piped()).await
    }

    async fn start(
        &self,
        store: &Store,
        layer: Layer,
        input: Stdio,
    ) -> Result<Running, UnpackError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let directory = store.paths().layers();
        let budget = budget(&directory, layer)?;
        let image = Temporary::create(&directory).map_err(StoreError::file(&directory))?;
        let output = image.file().try_clone().map_err(UnpackError::Worker)?;
        let child = Command::new(&self.program)
            .args([SUBCOMMAND, "--budget"])
            .arg(budget.to_string())
            .env_clear()
            .stdin(input)
            .stdout(Stdio::from(output))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(UnpackError::Worker)?;
        Ok(Running {
            child,
            image,
            layer,
            _permit: permit.ok(),
        })
    }

    fn lock_of(&self, diff_id: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = layers.get(&diff_id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        layers.insert(diff_id, Arc::downgrade(&lock));
        lock
    }
}

/// Whether the layer's image is there.
pub fn is_unpacked(store: &Store, diff_id: Digest) -> bool {
    store.paths().layer(diff_id).is_file()
}

/// A worker at work. Dropped, it is killed and its output removed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    image: Temporary,
    layer: Layer,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Running {
    /// Where the compressed bytes go, once.
    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for the verdict and publishes the image.
    pub async fn finish(mut self, store: &Store) -> Result<(), UnpackError> {
        drop(self.child.stdin.take());
        let verdict = self.verdict().await?;
        let Layer { blob, diff_id, .. } = self.layer;
        match verdict {
            Verdict::Refused(reason) => Err(UnpackError::Refused { blob, reason }),
            Verdict::Converted { blob: found, .. } if found != blob => Err(UnpackError::Blob {
                expected: blob,
                found,
            }),
            Verdict::Converted { diff_id: found, .. } if found != diff_id => {
                Err(UnpackError::DiffId {
                    blob,
                    expected: diff_id,
                    found,
                })
            }
            Verdict::Converted { entries, .. } => {
                let path = store.paths().layer(diff_id);
                let image = self.image;
                let destination = path.clone();
                tokio::task::spawn_blocking(move || image.publish(&destination))
                    .await
                    .unwrap_or_else(|error| Err(io::Error::other(error)))
                    .map_err(StoreError::file(&path))?;
                tracing::info!(%blob, %diff_id, entries, "layer unpacked");
                Ok(())
            }
        }
    }

    async fn verdict(&mut self) -> Result<Verdict, UnpackError> {
        let mut line = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            BufReader::new(stderr.take(MAX_VERDICT))
                .read_line(&mut line)
                .await
                .map_err(UnpackError::Worker)?;
        }
        let status = self.child.wait().await.map_err(UnpackError::Worker)?;
        serde_json::from_str(&line).map_err(|_| UnpackError::Died {
            blob: self.layer.blob,
            status,
        })
    }
}

fn budget(directory: &Path, layer: Layer) -> Result<u64, UnpackError> {
    let by_size = layer.size.saturating_mul(RATIO).max(SMALL_BUDGET);
    let free = free_space(directory)?;
    if free == 0 {
        return Err(UnpackError::NoSpace(layer.blob));
    }
    Ok(by_size.min(free))
}
