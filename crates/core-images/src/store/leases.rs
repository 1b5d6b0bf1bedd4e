//! The manifests that each container's roots were made of: its own root, and its guest's if it has an init image.
//!
//! A lease lives as long as the container's directory. The apiserver says when a directory has gone
//! ([`Leases::drop_departed`]), and a start of this process looks by itself. Where the root is asked for before there
//! is a directory, the lease is kept for [`GRACE`]: that is counted by the monotonic clock of this process, as a
//! lease found at its start belongs to a container that exists or to a creation that has failed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use container_files::Links;
use container_resource::digest::Digest;

use super::atomic;
use super::paths::{Paths, entries};
use super::{NamesGuard, StoreError};

/// How long a container may take from its root's preparation to its directory.
pub const GRACE: Duration = Duration::from_secs(60);
/// Most bytes of a lease: a few digests.
const MAX_LEASE: u64 = 64 << 10;

/// The leases of one store.
#[derive(Debug)]
pub struct Leases {
    paths: Paths,
    /// Leases whose directory was not seen yet.
    fresh: Mutex<HashMap<String, Instant>>,
}

impl Leases {
    pub(super) fn new(paths: &Paths) -> Self {
        Self {
            paths: paths.clone(),
            fresh: Mutex::default(),
        }
    }

    /// Lets the container `id` (a checked name) hold `manifests`, and no others. Gives whether its directory is still
    /// to come: who makes none must be looked for after [`GRACE`].
    pub fn take(
        &self,
        _guard: &NamesGuard<'_>,
        id: &str,
        manifests: &[Digest],
    ) -> Result<bool, StoreError> {
        let path = self.paths.leases().join(id);
        let lines: Vec<_> = manifests.iter().map(Digest::to_string).collect();
        let text = lines.join("\n");
        self.paths.restore_caches()?;
        // A start asks for what its creation has asked for.
        let held = container_files::read(&path, MAX_LEASE, Links::Refuse);
        if held.ok().as_deref() != Some(text.as_bytes()) {
            atomic::write(&path, text.as_bytes()).map_err(StoreError::file(&path))?;
        }
        let awaited = !self.paths.container(id).exists();
        if awaited {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            fresh.insert(id.to_owned(), Instant::now());
        }
        Ok(awaited)
    }

    /// Drops the leases of containers that are gone; gives the ids and the files of those that stay.
    pub fn drop_departed(&self, _guard: &NamesGuard<'_>) -> Vec<(String, PathBuf)> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = Vec::new();
        for path in entries(&self.paths.leases()) {
            let Some(id) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let exists = self.paths.container(id).exists();
            let waiting = fresh.get(id).is_some_and(|since| since.elapsed() < GRACE);
            if exists || !waiting {
                fresh.remove(id);
            }
            if exists || waiting {
                kept.push((id.to_owned(), path.clone()));
                continue;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot drop a lease");
                }
                _ => {}
            }
        }
        kept
    }

    /// Manifests that containers hold, after dropping leases of containers that are gone.
    pub fn held(&self, guard: &NamesGuard<'_>) -> Vec<Digest> {
        let holders = self.holders(guard).into_iter();
        holders.flat_map(|(_, manifests)| manifests).collect()
    }

    /// The containers that hold manifests, by their ids, after dropping leases of containers that are gone.
    pub fn holders(&self, guard: &NamesGuard<'_>) -> Vec<(String, Vec<Digest>)> {
        let mut holders = Vec::new();
        for (id, path) in self.drop_departed(guard) {
            if let Some(manifests) = read(&path) {
                holders.push((id, manifests));
            } else {
                tracing::warn!(path = %path.display(), "a lease cannot be read");
            }
        }
        holders
    }
}

/// The manifests of one lease, one in a line.
fn read(path: &Path) -> Option<Vec<Digest>> {
    let text = container_files::read_text(path, MAX_LEASE, Links::Refuse).ok()?;
    text.lines().map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use container_resource::reference::DEFAULT_DOMAIN;

    use super::*;
    use crate::store::Store;

    fn names(store: &Store) -> Vec<String> {
        let files = entries(&store.paths().leases());
        let mut names: Vec<String> = files
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn leases_go_with_their_containers() {
        let scratch = tempfile::tempdir().unwrap();
        let paths = Paths::new(scratch.path().to_path_buf());
        let store = Store::open(paths.clone(), DEFAULT_DOMAIN).unwrap();
        let digest = Digest::new([7; 32]);
        let take = |id: &str| store.leases().take(&store.lock(), id, &[digest]).unwrap();
        for id in ["gone", "here"] {
            fs::create_dir_all(paths.container(id)).unwrap();
            assert!(!take(id));
        }
        assert!(take("to-come"));
        fs::remove_dir(paths.container("gone")).unwrap();
        assert_eq!(store.leases().held(&store.lock()), [digest, digest]);
        assert_eq!(names(&store), ["here", "to-come"]);
        // A process that starts does not wait.
        drop(store);
        let store = Store::open(paths, DEFAULT_DOMAIN).unwrap();
        assert_eq!(names(&store), ["here"]);
    }

    #[test]
    fn a_lease_that_is_taken_again_is_not_written_again() {
        use std::os::unix::fs::MetadataExt;
        let scratch = tempfile::tempdir().unwrap();
        let paths = Paths::new(scratch.path().to_path_buf());
        let store = Store::open(paths.clone(), DEFAULT_DOMAIN).unwrap();
        let take = |digest| {
            let digest = Digest::new([digest; 32]);
            store.leases().take(&store.lock(), "c", &[digest]).unwrap();
            fs::metadata(paths.leases().join("c")).unwrap().ino()
        };
        let first = take(1);
        assert_eq!(take(1), first);
        assert_ne!(take(2), first);
    }
}
