//! Archives that come or go through a client's descriptor.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use container_api::images::LoadProgress;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::ReplyStream;
use super::fault::Fault;
use crate::archive::{self, Stream};
use crate::store::Store;

/// Progress messages that may wait for a slow client.
const QUEUE: usize = 16;

pub(super) fn load(
    store: Arc<Store>,
    descriptor: OwnedFd,
    force: bool,
) -> ReplyStream<LoadProgress> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut total = 0;
        let result = archive::load(&store, Stream::new(descriptor), force, &mut |bytes_read| {
            total = bytes_read;
            let progress = LoadProgress {
                bytes_read,
                ..LoadProgress::default()
            };
            sender.blocking_send(Ok(progress)).is_ok()
        });
        let last = result
            .map(|loaded| LoadProgress {
                bytes_read: total,
                references: loaded.references,
                rejected_paths: loaded.rejected,
            })
            .map_err(|error| Status::from(error.fault()));
        // A client that has gone away misses the answer; the images stay.
        let _ = sender.blocking_send(last);
    });
    Box::pin(ReceiverStream::new(receiver))
}
