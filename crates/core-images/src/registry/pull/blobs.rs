//! Blobs: in parallel, each once, layers unpacked while they arrive.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use container_resource::digest::Digest;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::super::blob::Download;
use super::super::error::RegistryError;
use super::super::progress::{Phase, Progress};
use super::{Pull, PullError, PulledManifest, give_up};
use crate::archive::Stream;
use crate::image::digest_of;
use crate::layer::running::Running;
use crate::layer::unpack::{Layer, UnpackError};
use crate::store::{Ingest, IngestError, Pin, Store};

/// Pieces of a blob between the network and the disk.
const QUEUE: usize = 32;

impl Pull<'_> {
    pub(super) async fn blobs(
        &self,
        wanted: &[PulledManifest],
        pin: &mut Pin,
    ) -> Result<(), PullError> {
        let mut layers: Vec<(Digest, u64, Option<Digest>)> = Vec::new();
        for one in wanted {
            for layer in &one.manifest.layers {
                let digest = digest_of(layer)?;
                if layers.iter().all(|(known, ..)| *known != digest) {
                    layers.push((digest, layer.size, one.diff_ids.get(&digest).copied()));
                }
            }
        }
        let work: Vec<_> = layers
            .into_iter()
            .map(|(digest, size, diff_id)| self.pinned_blob(digest, size, diff_id))
            .collect();
        let pins: Vec<Pin> = stream::iter(work)
            .buffer_unordered(self.parallel)
            .try_collect()
            .await?;
        for one in pins {
            pin.take_over(one);
        }
        Ok(())
    }

    async fn pinned_blob(
        &self,
        digest: Digest,
        size: u64,
        diff_id: Option<Digest>,
    ) -> Result<Pin, PullError> {
        let mut pin = self.shared.store.pin();
        self.blob(digest, size, diff_id, &mut pin).await?;
        Ok(pin)
    }

    /// Makes sure that a blob is in the store, and unpacked where it is a layer.
    pub(super) async fn blob(
        &self,
        digest: Digest,
        size: u64,
        diff_id: Option<Digest>,
        pin: &mut Pin,
    ) -> Result<(), PullError> {
        let store = &self.shared.store;
        pin.hold(digest);
        if let Some(diff_id) = diff_id {
            pin.hold(diff_id);
        }
        let tell = |phase| {
            (self.report)(Progress {
                digest: Some(digest),
                phase,
                bytes: size,
                total: size,
            });
        };
        let _one_at_a_time = self.shared.blobs.lock(digest).await;
        if !store.has_blob(digest, size) {
            self.download(digest, size, diff_id).await?;
            tell(Phase::Done);
            return Ok(());
        }
        let Some(diff_id) = diff_id else {
            tell(Phase::Exists);
            return Ok(());
        };
        let unpacker = &self.shared.unpacker;
        if unpacker.is_unpacked(store, diff_id).await {
            tell(Phase::Exists);
            return Ok(());
        }
        tell(Phase::Unpacking);
        let layer = Layer {
            blob: digest,
            size,
            diff_id,
        };
        match unpacker.unpack(store, layer, &self.allowance).await {
            // It was removed, so it can come again.
            Err(UnpackError::DamagedBlob(_)) => self.download(digest, size, Some(diff_id)).await?,
            unpacked => drop(unpacked?),
        }
        tell(Phase::Done);
        Ok(())
    }

    async fn download(
        &self,
        digest: Digest,
        size: u64,
        diff_id: Option<Digest>,
    ) -> Result<(), PullError> {
        let store = Arc::clone(&self.shared.store);
        let unpacker = &self.shared.unpacker;
        let mut worker: Option<(Running, Digest)> = match diff_id {
            Some(diff_id) if !unpacker.is_unpacked(&store, diff_id).await => {
                let layer = Layer {
                    blob: digest,
                    size,
                    diff_id,
                };
                let running = unpacker.start_streaming(&store, layer, &self.allowance);
                Some((running.await?, diff_id))
            }
            _ => None,
        };
        let feed = match worker.as_mut().and_then(|(running, _)| running.input()) {
            Some(input) => {
                let input = input.into_owned_fd().map_err(UnpackError::Worker)?;
                Some(Stream::new(input))
            }
            None => None,
        };
        let (sink, pieces) = mpsc::channel(QUEUE);
        let into = Arc::clone(&store);
        let writer = tokio::task::spawn_blocking(move || take_in(&into, digest, pieces, feed));
        let fetched = self.fetch(digest, size, &sink).await;
        drop(sink);
        let written = writer.await.map_err(|_| PullError::Cancelled)?;
        // What the worker says of a bad layer explains more than a pipe that broke.
        let unpacked = match worker {
            Some((running, diff_id)) if fetched.is_ok() => {
                Some(running.finish(&store, diff_id).await)
            }
            _ => None,
        };
        fetched?;
        written?;
        if let Some(unpacked) = unpacked {
            let spent = self.allowance.spend(unpacked?.length);
            spent.map_err(UnpackError::from)?;
        }
        Ok(())
    }

    async fn fetch(
        &self,
        digest: Digest,
        size: u64,
        sink: &mpsc::Sender<Bytes>,
    ) -> Result<(), RegistryError> {
        let mut download = Download::new(digest, size, sink, &self.report);
        let mut last = self.no_host();
        for session in self.hosts() {
            match download.run(session).await {
                Ok(()) => return Ok(()),
                Err(error) => last = give_up(session, error),
            }
        }
        Err(last)
    }
}

/// Writes a blob's pieces into the store and, as long as it takes them, to the worker that unpacks them.
fn take_in(
    store: &Store,
    digest: Digest,
    mut pieces: mpsc::Receiver<Bytes>,
    mut feed: Option<Stream>,
) -> Result<(), IngestError> {
    let mut ingest: Ingest<'_> = store.ingest()?;
    let mut writer = ingest.writer()?;
    while let Some(piece) = pieces.blocking_recv() {
        writer.write_all(&piece).map_err(IngestError::Write)?;
        if let Some(stream) = &mut feed {
            // A worker that has ended early says why in its verdict.
            if stream.write_all(&piece).is_err() {
                feed = None;
            }
        }
    }
    drop(feed);
    ingest.take(&writer, Some(digest))?;
    ingest.commit(|_| true)?;
    Ok(())
}
