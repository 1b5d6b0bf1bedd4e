//! What is on disk: an OCI image layout that others can read in place, and what is derived from it.
//!
//! ```text
//! content/                    oci-layout, index.json, blobs/sha256/<hex>
//! content/ingest/<uuid>/      blobs on their way in
//! layers/<diff id>.erofs      one image per layer, shared whatever its compression was
//! views/<manifest>.erofs      merged metadata of one image
//! leases/<container>          the manifest digests that a container's roots were made of
//! ```
//!
//! Nothing is ever half there: files are written aside, synced, and renamed.

mod atomic;
mod collect;
mod ingest;
mod leases;
mod names;
mod paths;
mod pins;

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use container_resource::digest::Digest;
use container_resource::reference::{Reference, ReferenceError};

pub use atomic::Temporary;
pub use ingest::{Ingest, IngestError};
pub use leases::Leases;
pub use names::{LAYOUT, Names, REF_NAME, UNTAGGED};
pub use paths::Paths;
pub use pins::{Pin, Pins};

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
}

/// Why the store can't do something to its own files.
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
        Ok(Self {
            paths,
            default_domain: default_domain.to_owned(),
            names: Mutex::new(()),
            pins: Pins::default(),
            leases,
        })
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
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::MissingBlob(digest))
            }
            Err(error) => Err(StoreError::file(&path)(error)),
        }
    }

    /// Reads a small blob (a manifest, a configuration) whole.
    pub fn read_blob(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(StoreError::file(&self.paths.blob(digest)))?;
        if bytes.len() as u64 > limit {
            return Err(StoreError::TooLarge { digest, limit });
        }
        Ok(bytes)
    }

    /// Starts taking blobs in.
    pub fn ingest(&self) -> Result<Ingest<'_>, StoreError> {
        Ingest::start(self)
    }
}

/// Bytes of disk space that are left to others.
pub const RESERVE: u64 = 512 << 20;

/// Bytes of disk space that may be used in `directory`: all but [`RESERVE`].
pub fn free_space(directory: &std::path::Path) -> Result<u64, StoreError> {
    let disk = File::open(directory)
        .and_then(|directory| Ok(rustix::fs::fstatvfs(directory)?))
        .map_err(StoreError::file(directory))?;
    Ok(disk
        .f_bavail
        .saturating_mul(disk.f_frsize)
        .saturating_sub(RESERVE))
}
