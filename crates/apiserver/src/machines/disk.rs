//! Copies of a machine's disk: each is written under a name that nobody knows, and whole when it gets another one.

use std::io;
use std::path::{Path, PathBuf};

use container_api::roots::create_private;
use container_api::{Error, Kind};
use container_resource::bundle::Bundle;

use super::Machines;
use crate::containers::{Entry, kind};
use crate::thread::on_thread;
use crate::{disk_usage, dot_names};

/// How often a machine is looked at again that starts or stops meanwhile.
const ATTEMPTS: u32 = 3;

/// A copy that is removed unless it is moved away.
#[derive(Debug)]
pub struct Staged(PathBuf);

impl Staged {
    /// A file that is not there yet, beside the snapshots of `bundle`.
    fn place(bundle: &Bundle) -> io::Result<Self> {
        let directory = directory(bundle);
        create_private(&directory)?;
        Ok(Self(directory.join(dot_names::unfinished())))
    }

    /// A copy of the disk `from`, which nobody writes to, beside the snapshots of `bundle`.
    pub fn copy(bundle: &Bundle, from: &Path) -> io::Result<Self> {
        let staged = Self::place(bundle)?;
        let file = container_files::create(&staged.0)?;
        container_ext4::copy(from, &file)?;
        file.sync_all()?;
        Ok(staged)
    }

    /// Gives it the name `target`, in place of what is there.
    pub fn replace(self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.0, target)
    }

    /// Gives it the name `target`, which is free.
    pub fn keep(self, target: &Path) -> io::Result<()> {
        // Unlike a rename, it fails where something is.
        std::fs::hard_link(&self.0, target)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Moved away, or nobody's: what cannot be removed now is at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Machines {
    /// A copy of the disk of the machine of `entry`, as it is at one moment; nothing, where it was never booted. It stands still
    /// meanwhile if it runs.
    pub(super) async fn copy_disk(&self, entry: &Entry) -> Result<Option<Staged>, Error> {
        let size = disk_usage::of_file(&entry.bundle.upper());
        self.containers.reserve.check_for(size)?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let staged = Staged::place(&entry.bundle).map_err(failed)?;
            match self.containers.copy_running(&entry.id, &staged.0).await {
                Ok(true) => return on_disk(staged).await.map(Some),
                Ok(false) => {}
                Err(error) => {
                    let hint = "Try again, or stop the machine first.".to_owned();
                    return Err(error.with_hint(hint));
                }
            }
            let work = |bundle: &Bundle| match bundle.upper() {
                upper if upper.exists() => Staged::copy(bundle, &upper).map(Some),
                _ => Ok(None),
            };
            match self.containers.with_bundle(&entry.id, work).await {
                // It was started meanwhile.
                Err(error) if error.kind == Kind::InvalidState && attempts < ATTEMPTS => {}
                copied => return copied,
            }
        }
    }
}

/// Waits until `staged` is on the disk. The machine goes on by then.
async fn on_disk(staged: Staged) -> Result<Staged, Error> {
    let path = staged.0.clone();
    let work = move || std::fs::File::open(path)?.sync_all();
    let synced = on_thread("sync", work).await.and_then(|synced| synced);
    synced.map_err(failed)?;
    Ok(staged)
}

/// Removes what an earlier apiserver left half-way beside the snapshots of `bundle`.
pub fn sweep(bundle: &Bundle) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory(bundle)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if dot_names::is_unfinished(&entry.file_name()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Where the snapshots of `bundle` are.
pub fn directory(bundle: &Bundle) -> PathBuf {
    bundle.directory().join("snapshots")
}

fn failed(error: io::Error) -> Error {
    Error::caused(kind(&error), error).context("copy a disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_kept_once_or_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(scratch.path());
        std::fs::write(bundle.upper(), "disk").unwrap();
        let target = scratch.path().join("kept");
        let copy = || Staged::copy(&bundle, &bundle.upper()).unwrap();
        copy().keep(&target).unwrap();
        let again = copy().keep(&target).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        copy().replace(&target).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"disk");
        assert!(Staged::copy(&bundle, &scratch.path().join("absent")).is_err());
        let left = || std::fs::read_dir(directory(&bundle)).unwrap().count();
        assert_eq!(left(), 0);
        // The process was killed.
        std::mem::forget(copy());
        assert_eq!(left(), 1);
        sweep(&bundle).unwrap();
        assert_eq!(left(), 0);
    }
}
