//! The store on disk: an OCI image layout that other tools can read in place, and data derived from it.
//!
//! ```text
//! content/                    oci-layout, index.json and its copy, blobs/sha256/<hex>
//! content/ingest/<uuid>/      blobs on their way in
//! layers/<diff id>.erofs      one image per layer, shared whatever its compression was, with its seal
//! views/<manifest>.erofs      merged metadata of one image, with its seal
//! leases/<container>          the manifest digests that a container's roots were made of
//! ```
//!
//! Nothing is ever half there: files are written aside, synced, and renamed.

pub(crate) mod atomic;
mod collect;
mod ingest;
mod leases;
mod names;
mod paths;
mod pins;
mod sparse;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use container_files::Links;
use container_resource::digest::Digest;
use container_resource::reference::{Reference, ReferenceError};
use container_resource::settings::StorageSettings;
use sha2::{Digest as _, Sha256};

pub use atomic::Temporary;
pub use collect::{Collected, ImageSpace, Shares, Usage};
pub use ingest::{Ingest, IngestError};
pub use leases::{GRACE, Leases};
pub use names::{LAYOUT, Names, UNTAGGED};
pub use paths::Paths;
pub use pins::{Pin, Pins};

use crate::layer::Hashing;
use crate::seal::{Kernel, Seals};

/// The content store of one app root.
#[derive(Debug)]
pub struct Store {
    paths: Paths,
    /// Registry of references that name none.
    default_domain: String,
    /// Held while names, leases or what they keep change.
    names: Mutex<()>,
    pins: Pins,
    leases: Leases,
    seals: Arc<Seals>,
    /// Bytes of disk space that are left to others.
    reserve: u64,
}

/// Why the store cannot do something to its own files.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of the store fails.
    #[error("{path}")]
    File {
        /// Which one.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A blob is not there, or not whole.
    #[error("the blob {0} is missing from the store")]
    MissingBlob(Digest),
    /// A blob is not what its name says.
    #[error("the blob {0} in the store is damaged: its content has another digest")]
    DamagedBlob(Digest),
    /// Neither the index of names nor its copy can be read.
    #[error("the index of all images is damaged: {path}")]
    Index {
        /// Its file.
        path: String,
        /// How.
        source: serde_json::Error,
    },
    /// All of it was removed.
    #[error("the images are gone: {0} is missing, or is no directory")]
    Gone(String),
    /// A blob exceeds what may be read into memory.
    #[error("the document {digest} is larger than {limit} bytes")]
    TooLarge {
        /// Which one.
        digest: Digest,
        /// Bytes.
        limit: u64,
    },
}

impl StoreError {
    /// Says which file failed.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::File {
            path: path.display().to_string(),
            source,
        }
    }
}

/// The right to change names. While it is held nothing is collected.
#[derive(Debug)]
pub struct NamesGuard<'s> {
    _guard: MutexGuard<'s, ()>,
}

impl Store {
    /// Opens the store, creates what is missing and removes what a killed process left behind. The caller
    /// holds the lock of the app root. `default_domain` is the registry of references that name none.
    pub fn open(paths: Paths, default_domain: &str) -> Result<Self, StoreError> {
        paths.create()?;
        paths.remove_left_over();
        names::open(&paths)?;
        let leases = Leases::new(&paths);
        let seals = Arc::new(Seals::open(paths.verified(), Box::new(Kernel)));
        let store = Self {
            paths,
            default_domain: default_domain.to_owned(),
            names: Mutex::new(()),
            pins: Pins::default(),
            leases,
            seals,
            reserve: StorageSettings::default().reserve(),
        };
        store.leases.drop_departed(&store.lock());
        Ok(store)
    }

    /// The same store, which leaves `reserve` bytes of disk space to others.
    #[must_use]
    pub fn with_reserve(self, reserve: u64) -> Self {
        Self { reserve, ..self }
    }

    /// Where things are.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Keeps digests from being collected while work goes on.
    pub fn pin(&self) -> Pin {
        self.pins.pin()
    }

    /// What containers hold.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// What tells whether unpacked layers and views are what was written.
    pub fn seals(&self) -> &Arc<Seals> {
        &self.seals
    }

    /// Waits for the right to change names.
    pub fn lock(&self) -> NamesGuard<'_> {
        NamesGuard {
            _guard: self.names.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// What a user's or an archive's text refers to.
    pub fn reference(&self, text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text, &self.default_domain)
    }

    /// The name under which the index knows what `text` refers to.
    pub fn normalise(&self, text: &str) -> Result<String, ReferenceError> {
        match text.strip_prefix(UNTAGGED).map(str::parse::<Digest>) {
            Some(Ok(_)) => Ok(text.to_owned()),
            _ => Ok(self.reference(text)?.to_string()),
        }
    }

    /// All names.
    pub fn names(&self) -> Result<Names, StoreError> {
        names::read(&self.paths)
    }

    /// Changes the names in one step.
    pub fn change_names<T>(
        &self,
        _guard: &NamesGuard<'_>,
        change: impl FnOnce(&mut Names) -> T,
    ) -> Result<T, StoreError> {
        let mut names = self.names()?;
        let result = change(&mut names);
        names::write(&self.paths, &names)?;
        Ok(result)
    }

    /// Whether a whole blob of that size is there.
    pub fn has_blob(&self, digest: Digest, size: u64) -> bool {
        std::fs::symlink_metadata(self.paths.blob(digest))
            .is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: Digest) -> Result<File, StoreError> {
        let path = self.paths.blob(digest);
        match container_files::open(&path, Links::Refuse) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::MissingBlob(digest))
            }
            Err(error) => Err(StoreError::file(&path)(error)),
        }
    }

    /// Reads a small blob (a manifest, a configuration) whole, and makes sure that it is what its name says.
    pub fn read_blob(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(StoreError::file(&self.paths.blob(digest)))?;
        if bytes.len() as u64 > limit {
            return Err(StoreError::TooLarge { digest, limit });
        }
        if Sha256::digest(&bytes)[..] != digest.bytes()[..] {
            return Err(StoreError::DamagedBlob(digest));
        }
        Ok(bytes)
    }

    /// Removes the blob if it is damaged, so that it can come again; gives whether it was. Reads it whole.
    pub fn discard_damaged(&self, digest: Digest) -> Result<bool, StoreError> {
        let path = self.paths.blob(digest);
        let mut hashing = Hashing::new(self.open_blob(digest)?);
        // One that cannot be read to its end is as bad.
        let read = io::copy(&mut hashing, &mut io::sink());
        if read.is_ok() && hashing.digest() == digest {
            return Ok(false);
        }
        let inode = |found: io::Result<std::fs::Metadata>| found.ok().map(|found| found.ino());
        // A good one may have taken its place meanwhile.
        if inode(hashing.get_ref().metadata()) == inode(std::fs::symlink_metadata(&path)) {
            tracing::error!(%digest, "a damaged blob is removed");
            std::fs::remove_file(&path).map_err(StoreError::file(&path))?;
        }
        Ok(true)
    }

    /// Disk space in `directory`, one of the store's.
    pub fn space(&self, directory: &std::path::Path) -> Result<Space, StoreError> {
        let available = container_files::free_at(directory)
            .map_err(|error| StoreError::file(directory)(error.into()))?;
        let available = available.unwrap_or(UNTOLD);
        Ok(Space {
            free: available.saturating_sub(self.reserve),
            reserve: self.reserve,
        })
    }

    /// Starts taking blobs in.
    pub fn ingest(&self) -> Result<Ingest<'_>, StoreError> {
        Ingest::start(self)
    }
}

/// Bytes that may be used of a file system that does not tell what is free, as ramfs: what comes is bounded, whoever sends it.
const UNTOLD: u64 = 64 << 30;

/// Disk space, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What may be used.
    pub free: u64,
    /// What is left to others beside it.
    pub reserve: u64,
}
