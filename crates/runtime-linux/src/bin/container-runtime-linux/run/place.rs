//! Where the container is kept while it runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use container_api::lock::{self, Lock};
use container_api::roots;
use container_resource::bundle::Bundle;

/// The directory of one container, and the right to its name. Removed when dropped.
#[derive(Debug)]
pub struct Place {
    id: String,
    bundle: Bundle,
    lock: PathBuf,
    _taken: Lock,
}

impl Place {
    /// Takes the name `id` below `state`. What a killed run has left there is removed.
    ///
    /// # Errors
    /// When a container of that name runs, or the directory cannot be made.
    pub fn take(state: &Path, id: &str) -> anyhow::Result<Self> {
        let make = || format!("make a directory in {}", state.display());
        roots::create_private(state).with_context(make)?;
        let state = state.canonicalize().with_context(make)?;
        let lock = state.join(format!(".{id}.lock"));
        let taken = match lock::acquire(&lock) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                anyhow::bail!("a container {id} is being run already")
            }
            taken => taken.with_context(|| format!("lock {}", lock.display()))?,
        };
        let bundle = Bundle::new(state.join(id));
        // A helper outlives whoever started it.
        anyhow::ensure!(
            lock::holder(&bundle.lock())?.is_none(),
            "a container {id} runs already"
        );
        match fs::remove_dir_all(bundle.directory()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context("remove what an earlier run left");
            }
            _ => {}
        }
        let place = Self {
            id: id.to_owned(),
            bundle,
            lock,
            _taken: taken,
        };
        fs::create_dir(place.bundle.directory()).with_context(make)?;
        Ok(place)
    }

    /// The container's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its directory.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(self.bundle.directory());
        // The next run of this name would do it, too.
        if let Err(error) = removed.and_then(|()| fs::remove_file(&self.lock)) {
            tracing::warn!(
                "cannot remove {}: {error}",
                self.bundle.directory().display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once_and_what_is_left_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let remains = scratch.path().join("c1");
        fs::create_dir(&remains).unwrap();
        fs::write(remains.join("config.json"), "{}").unwrap();
        let place = Place::take(scratch.path(), "c1").unwrap();
        assert!(!remains.join("config.json").exists());
        drop(place);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
