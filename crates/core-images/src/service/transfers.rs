//! Images that come from and go to registries.

use std::fs::File;
use std::sync::Arc;

use container_api::images::{
    AttachedBlob, AttachedReply, AttachedRequest, Phase, PullRequest, PushRequest, TransferProgress,
};
use container_api::{Error, Kind};
use container_resource::digest::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::ReplyStream;
use super::fault::Fault;
use super::queries;
use crate::image;
use crate::registry::pull::{Choice, Pulls};
use crate::registry::push::push as push_image;
use crate::registry::{Progress, Registries, Report};

/// Progress lines that may wait for a slow client; more are left out.
const QUEUE: usize = 64;
/// Blobs at a time, unless the client says otherwise.
const PARALLEL: usize = 3;
/// A platform that means all of them.
const ALL: &str = "all";

type Sender = mpsc::Sender<Result<TransferProgress, Status>>;

pub(super) fn pull(
    pulls: Arc<Pulls>,
    request: &PullRequest,
) -> Result<ReplyStream<TransferProgress>, Error> {
    let reference = pulls
        .store
        .reference(&request.reference)
        .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
    let scheme = request.scheme().into();
    let choice = match request.platform.as_str() {
        ALL => Choice::All,
        text => Choice::One(queries::platform(text)?),
    };
    let parallel = usize::try_from(request.max_concurrent_downloads).unwrap_or(PARALLEL);
    let parallel = if parallel == 0 { PARALLEL } else { parallel };
    Ok(run(reference.to_string(), move |report| async move {
        let pulled = pulls
            .pull(reference, scheme, &choice, parallel, report)
            .await;
        pulled.map_err(Fault::fault)
    }))
}

pub(super) async fn attached(
    pulls: &Pulls,
    request: &AttachedRequest,
) -> Result<AttachedReply, Error> {
    let reference = pulls
        .store
        .reference(&request.reference)
        .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
    let subject: Digest = request
        .manifest_digest
        .parse()
        .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
    let parts = pulls
        .registries
        .attached(
            &reference,
            request.scheme().into(),
            subject,
            &request.artifact_type,
        )
        .await
        .map_err(Fault::fault)?;
    let blobs = parts.into_iter().map(|part| AttachedBlob {
        media_type: part.media_type,
        data: part.bytes,
    });
    Ok(AttachedReply {
        blobs: blobs.collect(),
    })
}

pub(super) fn push(
    pulls: Arc<Pulls>,
    request: &PushRequest,
) -> Result<ReplyStream<TransferProgress>, Error> {
    let scheme = request.scheme().into();
    let platform = match request.platform.as_str() {
        "" | ALL => None,
        text => Some(queries::platform(text)?),
    };
    let found = image::find(&pulls.store, &request.reference).map_err(Fault::fault)?;
    Ok(run(found.name.clone(), move |report| async move {
        let (store, registries) = (&pulls.store, &pulls.registries);
        let pushed = push_image(store, registries, &found, scheme, platform.as_ref(), report).await;
        pushed.map_err(Fault::fault)
    }))
}

pub(super) fn fetch(
    registries: Arc<Registries>,
    url: String,
    file: File,
) -> ReplyStream<TransferProgress> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let report = |bytes, total_bytes| {
            let line = TransferProgress {
                phase: Phase::Downloading.into(),
                bytes,
                total_bytes,
                ..TransferProgress::default()
            };
            // As for images.
            let _ = sender.try_send(Ok(line));
        };
        let fetched = tokio::select! {
            fetched = registries.fetch(&url, file, report) => fetched,
            () = sender.closed() => return,
        };
        if let Err(error) = fetched {
            // A client that has gone away misses the answer.
            let _ = sender.send(Err(error.fault().into())).await;
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

/// Runs a transfer as a task of its own: when the client goes away it is given up.
fn run<F>(
    reference: String,
    transfer: impl FnOnce(Report) -> F + Send + 'static,
) -> ReplyStream<TransferProgress>
where
    F: Future<Output = Result<Digest, Error>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let last = tokio::select! {
            result = transfer(reporter(sender.clone())) => result,
            () = sender.closed() => return,
        };
        let last = last.map(|digest| TransferProgress {
            phase: Phase::Done.into(),
            reference,
            result_digest: digest.to_string(),
            ..TransferProgress::default()
        });
        // A client that has gone away misses the answer.
        let _ = sender.send(last.map_err(Status::from)).await;
    });
    Box::pin(ReceiverStream::new(receiver))
}

fn reporter(sender: Sender) -> Report {
    Arc::new(move |progress: Progress| {
        let line = TransferProgress {
            digest: progress
                .digest
                .map(|digest| digest.to_string())
                .unwrap_or_default(),
            phase: Phase::from(progress.phase).into(),
            bytes: progress.bytes,
            total_bytes: progress.total,
            ..TransferProgress::default()
        };
        // The work does not wait for a slow reader of the progress.
        let _ = sender.try_send(Ok(line));
    })
}
