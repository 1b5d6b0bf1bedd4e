//! Blobs on their way in: written aside, verified, then renamed into the layout together.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use container_api::roots::create_private;
use container_files::Links;
use container_resource::digest::Digest;

use super::pins::Pin;
use super::sparse::SparseFile;
use super::{Store, StoreError};
use super::{atomic, names};
use crate::layer::Hashing;

/// One delivery of blobs. What it took in is gone when it is dropped without [`Ingest::commit`].
#[derive(Debug)]
pub struct Ingest<'s> {
    store: &'s Store,
    directory: PathBuf,
    /// Sizes of the blobs that are complete here.
    taken: BTreeMap<Digest, u64>,
    pin: Pin,
}

/// Why a blob is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The content is not what its digest says.
    #[error("{expected} has the content of {found}: it is damaged or was tampered with")]
    Mismatch {
        /// What was announced.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The source failed.
    #[error("the content cannot be read")]
    Read(#[source] io::Error),
    /// The disk failed.
    #[error("the content cannot be stored")]
    Write(#[source] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A blob being written.
#[derive(Debug)]
pub struct BlobWriter {
    path: PathBuf,
    out: Hashing<SparseFile>,
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<'s> Ingest<'s> {
    pub(super) fn start(store: &'s Store) -> Result<Self, StoreError> {
        names::check_present(&store.paths)?;
        let blobs = store.paths.blobs();
        // Without them, what is taken in now is what mends the images.
        create_private(&blobs).map_err(StoreError::file(&blobs))?;
        let directory = store.paths.ingest().join(uuid::Uuid::new_v4().to_string());
        create_private(&directory).map_err(StoreError::file(&directory))?;
        Ok(Self {
            store,
            directory,
            taken: BTreeMap::new(),
            pin: store.pin(),
        })
    }

    /// Starts a blob.
    pub fn writer(&self) -> Result<BlobWriter, IngestError> {
        let path = self.directory.join(uuid::Uuid::new_v4().to_string());
        let file = File::create_new(&path).map_err(IngestError::Write)?;
        Ok(BlobWriter {
            path,
            out: Hashing::new(SparseFile::new(file)),
        })
    }

    /// Takes a finished blob; `expected` must be its digest where it is known.
    pub fn take(
        &mut self,
        writer: &BlobWriter,
        expected: Option<Digest>,
    ) -> Result<(Digest, u64), IngestError> {
        let found = writer.out.digest();
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(IngestError::Mismatch { expected, found });
        }
        writer.out.get_ref().sync().map_err(IngestError::Write)?;
        fs::rename(&writer.path, self.directory.join(found.hex())).map_err(IngestError::Write)?;
        let size = writer.out.count();
        self.taken.insert(found, size);
        Ok((found, size))
    }

    /// Takes a document that was made here.
    pub fn take_bytes(&mut self, bytes: &[u8]) -> Result<(Digest, u64), IngestError> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(IngestError::Write)?;
        self.take(&writer, None)
    }

    /// Whether the blob is here or in the store already; if so it stays until this is dropped.
    pub fn has(&mut self, digest: Digest, size: u64) -> bool {
        if self.taken.get(&digest) == Some(&size) {
            return true;
        }
        self.pin.hold(digest);
        self.store.has_blob(digest, size)
    }

    /// Reads a small document from here or from the store.
    pub fn read(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let Some(size) = self.taken.get(&digest) else {
            return self.store.read_blob(digest, limit);
        };
        if *size > limit {
            return Err(StoreError::TooLarge { digest, limit });
        }
        let path = self.directory.join(digest.hex());
        container_files::read(&path, limit, Links::Refuse).map_err(StoreError::file(&path))
    }

    /// Opens a blob from here or from the store.
    pub fn open(&self, digest: Digest) -> Result<File, StoreError> {
        if !self.taken.contains_key(&digest) {
            return self.store.open_blob(digest);
        }
        let path = self.directory.join(digest.hex());
        container_files::open(&path, Links::Refuse).map_err(StoreError::file(&path))
    }

    /// Moves those of the taken blobs that are `wanted` into the layout. They stay until the returned pin is
    /// dropped, which is after a name leads to them.
    pub fn commit(mut self, wanted: impl Fn(Digest) -> bool) -> Result<Pin, StoreError> {
        for digest in self.taken.keys().filter(|digest| wanted(**digest)) {
            self.pin.hold(*digest);
            let destination = self.store.paths.blob(*digest);
            atomic::take_place(&self.directory.join(digest.hex()), &destination)
                .map_err(StoreError::file(&destination))?;
        }
        let blobs = self.store.paths.blobs();
        atomic::sync_parent(&blobs.join("x")).map_err(StoreError::file(&blobs))?;
        Ok(std::mem::replace(&mut self.pin, self.store.pin()))
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

fn remove(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory) {
        tracing::warn!(path = %directory.display(), %error, "cannot remove an ingest directory");
    }
}
