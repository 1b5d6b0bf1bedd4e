//! Where the container is kept while it runs.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use container_api::lock::{self, Lock};
use container_api::roots;
use container_resource::bundle::Bundle;

/// The file that says that a directory is one of these, and may be removed: made before everything else, removed after it.
const MARKER: &str = ".container-run";

/// The directory of one container, and the right to its name. The directory is removed when this is dropped. The file that
/// is locked stays: whoever removed it could leave two runs with a lock each.
#[derive(Debug)]
pub struct Place {
    id: String,
    bundle: Bundle,
    _taken: Lock,
}

impl Place {
    /// Takes the name `id` below `state`. What a killed run has left there is removed, and nothing else.
    ///
    /// # Errors
    /// When a container of that name runs, something else is there, or the directory cannot be made.
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
        let directory = bundle.directory();
        if fs::symlink_metadata(directory).is_ok() {
            anyhow::ensure!(
                is_ours(directory),
                "{} is there and was not made by a run: it is not replaced",
                directory.display()
            );
            // A helper outlives whoever started it.
            anyhow::ensure!(
                lock::holder(&bundle.lock())?.is_none(),
                "a container {id} runs already"
            );
            remove(directory).context("remove what an earlier run left")?;
        }
        fs::create_dir(directory).with_context(make)?;
        let place = Self {
            id: id.to_owned(),
            bundle,
            _taken: taken,
        };
        fs::write(place.bundle.directory().join(MARKER), "").with_context(make)?;
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
        // The next run of this name would do it, too.
        if let Err(error) = remove(self.bundle.directory()) {
            tracing::warn!(
                "cannot remove {}: {error:#}",
                self.bundle.directory().display()
            );
        }
    }
}

/// Whether a run has made `directory`; one that is empty was perhaps made by a run that was killed then.
fn is_ours(directory: &Path) -> bool {
    let is_directory = fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir());
    let is_marked = || {
        let marker = fs::symlink_metadata(directory.join(MARKER));
        marker.is_ok_and(|found| found.is_file())
    };
    let is_empty = || fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    is_directory && (is_marked() || is_empty())
}

/// Removes `directory`, the marker last.
fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == MARKER {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    match fs::remove_file(directory.join(MARKER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_and_what_a_killed_run_left_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let remains = scratch.path().join("c1");
        fs::create_dir_all(remains.join("deep")).unwrap();
        fs::write(remains.join("deep/file"), "").unwrap();
        fs::write(remains.join(MARKER), "").unwrap();
        let place = Place::take(scratch.path(), "c1").unwrap();
        assert!(!remains.join("deep").exists());
        assert!(remains.join(MARKER).exists());
        drop(place);
        assert!(!remains.exists());
        // One that was killed before it could say so.
        fs::create_dir(&remains).unwrap();
        drop(Place::take(scratch.path(), "c1").unwrap());
        assert!(!remains.exists());
        assert!(scratch.path().join(".c1.lock").exists());
    }

    #[test]
    fn what_no_run_has_made_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let foreign = scratch.path().join("c1");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("config.json"), "{}").unwrap();
        std::os::unix::fs::symlink("c1", scratch.path().join("c2")).unwrap();
        fs::write(scratch.path().join("c3"), "text").unwrap();
        for id in ["c1", "c2", "c3"] {
            let error = Place::take(scratch.path(), id).unwrap_err().to_string();
            assert!(error.contains(&format!("/{id} is there")), "{error}");
        }
        assert!(foreign.join("config.json").exists());
        assert!(scratch.path().join("c2").is_symlink());
        assert!(scratch.path().join("c3").exists());
    }
}
