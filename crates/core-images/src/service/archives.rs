//! Archives that come or go through a client's descriptor.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use container_api::images::{
    ArchiveFormat, ImportReply, ImportRequest, LoadProgress, SaveReply, SaveRequest,
};
use container_api::{Error, Kind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::ReplyStream;
use super::fault::Fault;
use super::queries;
use crate::archive::{self, Format, LoadOptions, Stream};
use crate::image;
use crate::import::{Import, import as import_image};
use crate::layer::unpack::Unpacker;
use crate::store::Store;

/// Progress messages that may wait for a slow client.
const QUEUE: usize = 16;

pub(super) fn load(
    store: Arc<Store>,
    unpacker: Arc<Unpacker>,
    descriptor: OwnedFd,
    options: LoadOptions,
) -> ReplyStream<LoadProgress> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let lines = sender.clone();
        let bytes = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&bytes);
        let progress = Box::new(move |bytes_read| {
            read.store(bytes_read, Ordering::Relaxed);
            let line = LoadProgress {
                bytes_read,
                ..LoadProgress::default()
            };
            lines.blocking_send(Ok(line)).is_ok()
        });
        let loaded =
            archive::load(store, &unpacker, Stream::new(descriptor), options, progress).await;
        let last = loaded
            .map(|loaded| LoadProgress {
                bytes_read: bytes.load(Ordering::Relaxed),
                references: loaded.references,
                rejected_paths: loaded.rejected,
                warnings: loaded.warnings,
                errors: loaded
                    .failures
                    .into_iter()
                    .map(|failure| failure.fault().message())
                    .collect(),
            })
            .map_err(|error| Status::from(error.fault()));
        // A client that has gone away misses the answer; the images stay.
        let _ = sender.send(last).await;
    });
    Box::pin(ReceiverStream::new(receiver))
}

pub(super) fn save(
    store: &Store,
    request: &SaveRequest,
    descriptor: OwnedFd,
) -> Result<SaveReply, Error> {
    let format = match request.format() {
        ArchiveFormat::Oci => Format::Oci,
        ArchiveFormat::Docker => Format::Docker,
    };
    if request.references.is_empty() {
        return Err(Error::new(Kind::InvalidArgument, "no image is named"));
    }
    let platform = match request.platform.as_str() {
        "" => None,
        text => Some(queries::platform(text)?),
    };
    let images = request
        .references
        .iter()
        .map(|text| image::find(store, text));
    let images: Vec<image::Found> = images.collect::<Result<_, _>>().map_err(Fault::fault)?;
    let out = Stream::new(descriptor);
    archive::save(store, &images, platform.as_ref(), format, out).map_err(Fault::fault)?;
    Ok(SaveReply {
        references: images.into_iter().map(|image| image.name).collect(),
    })
}

pub(super) async fn import(
    store: Arc<Store>,
    unpacker: Arc<Unpacker>,
    request: ImportRequest,
    descriptor: OwnedFd,
) -> Result<ImportReply, Error> {
    let name = match request.reference.as_str() {
        "" => None,
        text => Some(
            store
                .normalise(text)
                .map_err(|error| Error::caused(Kind::InvalidArgument, error))?,
        ),
    };
    let platform = queries::platform(&request.platform)?;
    let base = match request.base.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|error| Error::caused(Kind::InvalidArgument, error))?,
        ),
    };
    let request = Import {
        name,
        platform,
        changes: request.changes,
        message: request.message,
        author: request.author,
        base,
    };
    let imported = import_image(store, unpacker, Stream::new(descriptor), request).await;
    let imported = imported.map_err(Fault::fault)?;
    Ok(ImportReply {
        reference: imported.name,
        digest: imported.digest.to_string(),
        warnings: imported.warnings,
    })
}
