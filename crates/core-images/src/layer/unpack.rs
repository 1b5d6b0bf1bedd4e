//! Driving workers: which layers are unpacked, and where their images go.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use container_resource::digest::Digest;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::worker::Verdict;
use crate::keyed::KeyedLocks;
use crate::store::{Pin, RESERVE, Store, StoreError, Temporary, free_space};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "unpack-layer";

/// A layer may expand to this much whatever its size …
const SMALL_BUDGET: u64 = 16 << 30;
/// … or to this many times its size, if that is more.
const RATIO: u64 = 200;
/// Most layers that arrive and are unpacked at a time.
const MAX_STREAMS: usize = 16;
/// Most bytes of a verdict.
const MAX_VERDICT: u64 = 64 * 1024;

/// Starts workers, a few at a time.
#[derive(Debug)]
pub struct Unpacker {
    program: PathBuf,
    /// For layers that are here: as many workers as CPUs.
    permits: Arc<Semaphore>,
    /// For layers that arrive: their workers wait most of the time.
    streams: Arc<Semaphore>,
    /// One lock per layer in work, so that it is unpacked once.
    layers: KeyedLocks<Digest>,
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
    /// The disk is full, or nearly so.
    #[error(
        "no disk space is left for the layer {0}: {reserve} MiB are kept free for others",
        reserve = RESERVE >> 20
    )]
    NoSpace(Digest),
    /// The worker can't be run.
    #[error("the worker for layers cannot be run")]
    Worker(#[source] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Unpacker {
    /// Workers are runs of `program`, which is this one.
    pub fn new(program: PathBuf) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            program,
            permits: Arc::new(Semaphore::new(workers)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            layers: KeyedLocks::default(),
        }
    }

    /// Makes sure that the layer's image is there. The caller has pinned `layer.diff_id`.
    pub async fn unpack(&self, store: &Store, layer: Layer) -> Result<(), UnpackError> {
        let _one_at_a_time = self.layers.lock(layer.diff_id).await;
        if is_unpacked(store, layer.diff_id) {
            return Ok(());
        }
        let input = Stdio::from(store.open_blob(layer.blob)?);
        self.start(&self.permits, store, layer.blob, layer.size, input)
            .await?
            .finish(store, layer.diff_id)
            .await
    }

    /// Starts a worker that is fed through [`Running::input`] while the layer arrives.
    pub async fn start_streaming(
        &self,
        store: &Store,
        layer: Layer,
    ) -> Result<Running, UnpackError> {
        self.start(&self.streams, store, layer.blob, layer.size, Stdio::piped())
            .await
    }

    /// Unpacks a blob of the store whose diff id nobody knows yet, and gives that, pinned.
    pub async fn convert(
        &self,
        store: &Store,
        blob: Digest,
        size: u64,
        pin: &mut Pin,
    ) -> Result<Digest, UnpackError> {
        let input = Stdio::from(store.open_blob(blob)?);
        let mut running = self.start(&self.permits, store, blob, size, input).await?;
        let diff_id = running.converted().await?;
        pin.hold(diff_id);
        running.publish(store, diff_id).await?;
        Ok(diff_id)
    }

    async fn start(
        &self,
        permits: &Arc<Semaphore>,
        store: &Store,
        blob: Digest,
        size: u64,
        input: Stdio,
    ) -> Result<Running, UnpackError> {
        let permit = Arc::clone(permits).acquire_owned().await;
        let directory = store.paths().layers();
        let budget = budget(&directory, blob, size)?;
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
            blob,
            _permit: permit.ok(),
        })
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
    blob: Digest,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Running {
    /// Where the compressed bytes go, once.
    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for the verdict and publishes the image of the layer with that diff id.
    pub async fn finish(mut self, store: &Store, diff_id: Digest) -> Result<(), UnpackError> {
        let found = self.converted().await?;
        if found != diff_id {
            return Err(UnpackError::DiffId {
                blob: self.blob,
                expected: diff_id,
                found,
            });
        }
        self.publish(store, diff_id).await
    }

    /// Waits for the verdict: the diff id of what was converted.
    async fn converted(&mut self) -> Result<Digest, UnpackError> {
        drop(self.child.stdin.take());
        let blob = self.blob;
        match self.verdict().await? {
            Verdict::Refused(reason) => Err(UnpackError::Refused { blob, reason }),
            Verdict::NoSpace => Err(UnpackError::NoSpace(blob)),
            Verdict::Converted { blob: found, .. } if found != blob => Err(UnpackError::Blob {
                expected: blob,
                found,
            }),
            Verdict::Converted {
                diff_id, entries, ..
            } => {
                tracing::info!(%blob, %diff_id, entries, "layer unpacked");
                Ok(diff_id)
            }
        }
    }

    async fn publish(self, store: &Store, diff_id: Digest) -> Result<(), UnpackError> {
        let path = store.paths().layer(diff_id);
        let image = self.image;
        let destination = path.clone();
        tokio::task::spawn_blocking(move || image.publish(&destination))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(StoreError::file(&path))?;
        Ok(())
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
            blob: self.blob,
            status,
        })
    }
}

fn budget(directory: &Path, blob: Digest, size: u64) -> Result<u64, UnpackError> {
    let by_size = size.saturating_mul(RATIO).max(SMALL_BUDGET);
    let free = free_space(directory)?;
    if free == 0 {
        return Err(UnpackError::NoSpace(blob));
    }
    Ok(by_size.min(free))
}
