//! Unpacks layers, and stores their images.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use container_resource::digest::Digest;
use tokio::sync::Semaphore;

use super::bounds::{Allowance, Bounds, Budget, TooLarge};
use super::running::Running;
use crate::keyed::KeyedLocks;
use crate::seal::{Damage, Intact};
use crate::store::{Pin, Store, StoreError};

/// Most layers that arrive and are unpacked at a time.
const MAX_STREAMS: usize = 16;

/// Starts workers, a few at a time.
#[derive(Debug)]
pub struct Unpacker {
    pub(crate) program: PathBuf,
    bounds: Bounds,
    /// For layers that are here: as many workers as CPUs.
    permits: Arc<Semaphore>,
    /// For layers that arrive: their workers wait most of the time.
    streams: Arc<Semaphore>,
    /// One lock per layer, or manifest of a view, in work, so that it is looked at and made once.
    pub(crate) works: KeyedLocks<Digest>,
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

/// Why a layer cannot be unpacked.
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
    /// It unpacks to more than is allowed.
    #[error("the layer {blob} of {size} unpacks to more than {budget}")]
    TooLarge {
        /// Which one.
        blob: Digest,
        /// Compressed, for people.
        size: String,
        /// The bound.
        budget: Budget,
    },
    /// All layers of the image unpack to more than is allowed.
    #[error(transparent)]
    Image(#[from] TooLarge),
    /// The worker ended without a verdict.
    #[error("the worker for the layer {blob} ended with {status}")]
    Died {
        /// Which one.
        blob: Digest,
        /// How.
        status: std::process::ExitStatus,
    },
    /// The worker was ended because it took too long.
    #[error("the layer {blob} takes more than {} min of CPU time to unpack", super::sandbox::CPU_SECONDS / 60)]
    TooSlow {
        /// Which one.
        blob: Digest,
    },
    /// The content is not what the manifest says.
    #[error("the layer has the digest {found} where {expected} was announced")]
    Blob {
        /// By the manifest.
        expected: Digest,
        /// In fact.
        found: Digest,
    },
    /// The blob in the store is not what its name says. It was removed.
    #[error("the layer {0} is damaged in the store")]
    DamagedBlob(Digest),
    /// An unpacked layer is damaged, and what it was made of is not here.
    #[error(
        "an unpacked layer cannot be used ({damage}), and its blob {blob} is not in the store any more"
    )]
    Lost {
        /// Which one.
        blob: Digest,
        /// What is wrong with it.
        damage: Damage,
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
    #[error("no disk space is left for the layer {blob}: it takes more than {budget}")]
    NoSpace {
        /// Which one.
        blob: Digest,
        /// What there was.
        budget: Budget,
    },
    /// The worker cannot be run.
    #[error("the worker for layers cannot be run")]
    Worker(#[source] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Unpacker {
    /// Workers are runs of `program`, which is this one.
    pub fn new(program: PathBuf, bounds: Bounds) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            program,
            bounds,
            permits: Arc::new(Semaphore::new(workers)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            works: KeyedLocks::default(),
        }
    }

    /// What the layers of one image may unpack to together.
    pub fn allowance(&self) -> Allowance {
        self.bounds.allowance()
    }

    /// Makes sure that the layer's image is there and is what was written. The caller has pinned `layer.diff_id`.
    pub async fn unpack(
        &self,
        store: &Arc<Store>,
        layer: Layer,
        allowance: &Allowance,
    ) -> Result<Intact, UnpackError> {
        let unpacked = self.unpack_one(store, layer, allowance).await?;
        allowance.spend(unpacked.length)?;
        Ok(unpacked)
    }

    async fn unpack_one(
        &self,
        store: &Arc<Store>,
        layer: Layer,
        allowance: &Allowance,
    ) -> Result<Intact, UnpackError> {
        let path = store.paths().layer(layer.diff_id);
        if let Some(intact) = store.seals().known(&path) {
            return Ok(intact);
        }
        let _one_at_a_time = self.works.lock(layer.diff_id).await;
        store.paths().restore_caches()?;
        let damage = match check(store, path.clone()).await? {
            Ok(intact) => return Ok(intact),
            Err(damage) => damage,
        };
        if !matches!(damage, Damage::Missing) {
            tracing::error!(path = %path.display(), error = &damage as &dyn std::error::Error, "an unpacked layer is made anew");
        }
        let input = match store.open_blob(layer.blob) {
            Ok(blob) => Stdio::from(blob),
            Err(StoreError::MissingBlob(blob)) if !matches!(damage, Damage::Missing) => {
                return Err(UnpackError::Lost { blob, damage });
            }
            Err(error) => return Err(error.into()),
        };
        let running = self.start(
            &self.permits,
            store,
            layer.blob,
            layer.size,
            input,
            allowance,
        );
        match running.await?.finish(store, layer.diff_id).await {
            Ok(intact) => Ok(intact),
            Err(error) => Err(explain(store, layer.blob, error).await),
        }
    }

    /// Whether the layer's image is there and is what was written.
    pub async fn is_unpacked(&self, store: &Arc<Store>, diff_id: Digest) -> bool {
        let path = store.paths().layer(diff_id);
        if store.seals().known(&path).is_some() {
            return true;
        }
        let _one_at_a_time = self.works.lock(diff_id).await;
        matches!(check(store, path).await, Ok(Ok(_)))
    }

    /// Starts a worker that is fed through [`Running::input`] while the layer arrives.
    pub async fn start_streaming(
        &self,
        store: &Store,
        layer: Layer,
        allowance: &Allowance,
    ) -> Result<Running, UnpackError> {
        let input = Stdio::piped();
        self.start(
            &self.streams,
            store,
            layer.blob,
            layer.size,
            input,
            allowance,
        )
        .await
    }

    /// Unpacks a blob of the store whose diff id is not known yet, and gives the diff id, pinned.
    pub async fn convert(
        &self,
        store: &Arc<Store>,
        blob: Digest,
        size: u64,
        pin: &mut Pin,
    ) -> Result<Digest, UnpackError> {
        let input = Stdio::from(store.open_blob(blob)?);
        let allowance = self.allowance();
        let running = self.start(&self.permits, store, blob, size, input, &allowance);
        let mut running = running.await?;
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
        allowance: &Allowance,
    ) -> Result<Running, UnpackError> {
        let permit = Arc::clone(permits).acquire_owned().await;
        store.paths().restore_caches()?;
        let space = store.space(&store.paths().layers())?;
        let used = store.unpacked_space();
        let budget = self.bounds.budget(size, allowance, used, space);
        if budget.bytes == 0 {
            return Err(UnpackError::over(blob, size, budget));
        }
        Running::start(&self.program, store, blob, size, budget, input, permit.ok())
    }
}

impl UnpackError {
    /// More than `budget`.
    pub(super) fn over(blob: Digest, size: u64, budget: Budget) -> Self {
        if budget.is_space() {
            return Self::NoSpace { blob, budget };
        }
        let size = container_resource::size::memory(size);
        Self::TooLarge { blob, size, budget }
    }
}

/// Compares a file with its seal in the background.
pub(crate) async fn check(
    store: &Store,
    path: PathBuf,
) -> Result<Result<Intact, Damage>, UnpackError> {
    let seals = Arc::clone(store.seals());
    tokio::task::spawn_blocking(move || seals.check(&path))
        .await
        .map_err(|error| UnpackError::Worker(io::Error::other(error)))
}

/// What fails because the blob in the store is damaged says so, and the blob can come again.
async fn explain(store: &Arc<Store>, blob: Digest, error: UnpackError) -> UnpackError {
    let may_be_damage = matches!(
        error,
        UnpackError::Refused { .. }
            | UnpackError::Blob { .. }
            | UnpackError::DiffId { .. }
            | UnpackError::TooLarge { .. }
            | UnpackError::Died { .. }
    );
    if !may_be_damage {
        return error;
    }
    let looked = Arc::clone(store);
    let damaged = tokio::task::spawn_blocking(move || looked.discard_damaged(blob)).await;
    match damaged {
        Ok(Ok(true)) => UnpackError::DamagedBlob(blob),
        _ => error,
    }
}
