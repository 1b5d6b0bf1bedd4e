//! Which manifests each container's roots were made of: its own, and its guest's if that has an image.
//!
//! A lease lives as long as the container's directory. The apiserver asks for the root before or after it
//! makes the directory, so a lease whose directory was never seen is kept for a while; once the directory
//! was seen, its absence ends the lease at once. The while is counted by the monotonic clock of this process:
//! a lease found at its start belongs to a container that exists or to a creation that has failed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use container_resource::digest::Digest;

use super::atomic;
use super::paths::{Paths, entries};
use super::{NamesGuard, StoreError};

/// How long a container may take from its root's preparation to its directory.
const GRACE: Duration = Duration::from_secs(60);

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

    /// Lets the container `id` (a checked name) hold `manifests`, and no others.
    pub fn take(
        &self,
        _guard: &NamesGuard<'_>,
        id: &str,
        manifests: &[Digest],
    ) -> Result<(), StoreError> {
        let path = self.paths.leases().join(id);
        let lines: Vec<_> = manifests.iter().map(Digest::to_string).collect();
        atomic::write(&path, lines.join("\n").as_bytes()).map_err(StoreError::file(&path))?;
        if !self.paths.container(id).exists() {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            fresh.insert(id.to_owned(), Instant::now());
        }
        Ok(())
    }

    /// Manifests that containers hold, after dropping leases of containers that are gone.
    pub fn held(&self, guard: &NamesGuard<'_>) -> Vec<Digest> {
        let holders = self.holders(guard).into_iter();
        holders.flat_map(|(_, manifests)| manifests).collect()
    }

    /// The containers that hold manifests, by their ids, after dropping leases of containers that are gone.
    pub fn holders(&self, _guard: &NamesGuard<'_>) -> Vec<(String, Vec<Digest>)> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let mut holders = Vec::new();
        for path in entries(&self.paths.leases()) {
            let Some(id) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let exists = self.paths.container(id).exists();
            let waiting = fresh.get(id).is_some_and(|since| since.elapsed() < GRACE);
            if exists || !waiting {
                fresh.remove(id);
            }
            if !exists && !waiting {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(path = %path.display(), %error, "can't drop a lease");
                    }
                    _ => {}
                }
                continue;
            }
            if let Some(manifests) = read(&path) {
                holders.push((id.to_owned(), manifests));
            } else {
                tracing::warn!(path = %path.display(), "a lease can't be read");
            }
        }
        holders
    }
}

/// The manifests of one lease, one in a line.
fn read(path: &Path) -> Option<Vec<Digest>> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().map(|line| line.parse().ok()).collect()
}
