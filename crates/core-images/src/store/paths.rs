//! Names of files and directories.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use container_api::roots::{create_private, restore_private};
use container_resource::digest::Digest;

use super::StoreError;
use crate::seal;

/// Where the parts of a store are.
#[derive(Clone, Debug)]
pub struct Paths {
    app_root: PathBuf,
}

impl Paths {
    /// For an absolute app root.
    pub fn new(app_root: PathBuf) -> Self {
        Self { app_root }
    }

    /// The OCI image layout.
    pub fn content(&self) -> PathBuf {
        self.app_root.join("content")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.content().join("blobs/sha256")
    }

    /// A blob of the layout.
    pub fn blob(&self, digest: Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(super) fn ingest(&self) -> PathBuf {
        self.content().join("ingest")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.content().join("index.json")
    }

    /// The same again, for when that one is damaged.
    pub(super) fn index_copy(&self) -> PathBuf {
        self.content().join("index.copy.json")
    }

    /// Unpacked layers.
    pub fn layers(&self) -> PathBuf {
        self.app_root.join("layers")
    }

    /// The unpacked layer of a diff id.
    pub fn layer(&self, diff_id: Digest) -> PathBuf {
        self.layers().join(format!("{}.erofs", diff_id.hex()))
    }

    /// Merged metadata.
    pub fn views(&self) -> PathBuf {
        self.app_root.join("views")
    }

    /// The merged metadata of an image's manifest.
    pub fn view(&self, manifest: Digest) -> PathBuf {
        self.views().join(format!("{}.erofs", manifest.hex()))
    }

    /// Stamps of what was compared with its seal.
    pub(super) fn verified(&self) -> PathBuf {
        self.cache().join("verified.json")
    }

    /// What can be made again; others keep theirs here, too.
    fn cache(&self) -> PathBuf {
        self.app_root.join("cache")
    }

    pub(super) fn leases(&self) -> PathBuf {
        self.app_root.join("leases")
    }

    /// The apiserver's directory of a container.
    pub(super) fn container(&self, id: &str) -> PathBuf {
        self.app_root.join("containers").join(id)
    }

    /// The file whose lock says that a process owns this store.
    pub fn lock(&self) -> PathBuf {
        self.app_root.join("core-images.lock")
    }

    /// Credentials, in Docker's auth.json format.
    pub fn credentials(&self) -> PathBuf {
        self.app_root.join("auth.json")
    }

    pub(super) fn create(&self) -> Result<(), StoreError> {
        for directory in [self.blobs(), self.ingest()] {
            create_private(&directory).map_err(StoreError::file(&directory))?;
        }
        self.restore_caches()
    }

    /// Makes sure that what can be made again has a place: who removes a cache removes its directory, too.
    pub(crate) fn restore_caches(&self) -> Result<(), StoreError> {
        for directory in [self.layers(), self.views(), self.leases(), self.cache()] {
            restore_private(&directory).map_err(StoreError::file(&directory))?;
        }
        Ok(())
    }

    /// Removes what a killed process was writing.
    pub(super) fn remove_left_over(&self) {
        let ingest = self.ingest();
        for path in entries(&ingest) {
            report(&path, fs::remove_dir_all(&path));
        }
        for directory in [
            self.app_root.clone(),
            self.content(),
            self.layers(),
            self.views(),
            self.leases(),
            self.cache(),
        ] {
            for path in entries(&directory).filter(|path| super::atomic::is_temporary(path)) {
                report(&path, fs::remove_file(&path));
            }
        }
        for directory in [self.layers(), self.views()] {
            seal::remove_orphans(entries(&directory));
        }
    }
}

/// Paths in a directory; none where it cannot be read.
pub(super) fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}

fn report(path: &Path, result: io::Result<()>) {
    match result {
        Ok(()) => tracing::info!(path = %path.display(), "removed what was left over"),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot remove what was left over");
        }
    }
}
