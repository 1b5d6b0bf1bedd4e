//! Recompresses incoming layers in a form that every tool reads.

use std::io::{self, BufReader, Read};

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use flate2::write::GzEncoder;

use crate::budget::Budgeted;
use crate::image::media;
use crate::store::{Ingest, IngestError};
use container_compression::{self as compression, Compression};

/// Takes a layer in as it is; one in xz or bzip2, for which images have no media type, is compressed with gzip
/// instead. It may expand to `budget` bytes on the way.
pub(crate) fn take_layer(
    ingest: &mut Ingest<'_>,
    mut stream: impl Read,
    budget: u64,
) -> Result<(Descriptor, Digest), IngestError> {
    let head = compression::head(&mut stream).map_err(IngestError::Read)?;
    let compression = Compression::of(&head);
    let mut whole = BufReader::new(io::Cursor::new(head).chain(stream));
    let mut writer = ingest.writer()?;
    let copied = if compression.is_common() {
        io::copy(&mut whole, &mut writer)
    } else {
        let decoded = compression::decoder(whole).map_err(IngestError::Read)?;
        let mut encoder = GzEncoder::new(&mut writer, flate2::Compression::fast());
        io::copy(&mut Budgeted::new(decoded, budget), &mut encoder)
            .and_then(|count| encoder.finish().map(|_| count))
    };
    copied.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => IngestError::Write(error),
        _ => IngestError::Read(error),
    })?;
    let compression = if compression.is_common() {
        compression
    } else {
        Compression::Gzip
    };
    let (digest, size) = ingest.take(&writer, None)?;
    let layer = Descriptor::new(media::layer_type(compression), digest, size);
    Ok((layer, digest))
}
